"""`slipstream demo`: leaders trade on the paper venue, the six services copy them, and every figure
is checked at the end.
"""
