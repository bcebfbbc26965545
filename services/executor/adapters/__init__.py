"""Executor's ports to PostgreSQL, the venue and the chain."""
