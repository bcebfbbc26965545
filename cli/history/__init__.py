"""`slipstream history`: archive and prune the rows of what ended long ago."""
