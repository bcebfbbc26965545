"""Money, prices, books, ids and rules of several services, without clock, I/O or randomness."""
