"""Traces, metrics, health and logs of the services: never a secret, never a payload."""
