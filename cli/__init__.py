"""The `slipstream` command: what operators and newcomers type."""
