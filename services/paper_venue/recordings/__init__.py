"""Recordings of what a venue served: how they are made, read and played again."""
