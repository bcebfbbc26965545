"""Executor's ports against PostgreSQL and the venue."""
