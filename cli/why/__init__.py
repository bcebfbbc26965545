"""`slipstream why`: shows how a copy came about, which rule decided, and what became of it."""
