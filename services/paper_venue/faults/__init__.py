"""The faults that can be switched on, and where each of them acts."""
