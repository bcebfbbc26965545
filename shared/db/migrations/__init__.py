"""The database's history, step by step: expand first, contract in a later release."""
