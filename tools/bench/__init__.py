"""Benchmarks: one hop, the whole path, and its floor (the same path without logic)."""
