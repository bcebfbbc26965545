"""Preflight's ports: verdicts in PostgreSQL, balances from the chain."""
