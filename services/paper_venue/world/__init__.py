"""The simulated world: markets by a seed, market makers, leaders with their strategies, and a crowd."""
