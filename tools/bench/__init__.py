"""What a hop costs, what the whole path costs, and how far that is from what it could cost:
measured, never asserted.
"""
