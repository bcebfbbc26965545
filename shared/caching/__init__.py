"""What every cache of ours is made of: one request for many askers, and a bound."""
