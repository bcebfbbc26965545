"""The relayer: it sends calls that wallets' owners have signed, at its own cost."""
