"""One hop each, by one library each: take a record, read its JSON, write it again under the same
key, acknowledged by all replicas.

    python -m tools.bench.contestants.<name> BOOTSTRAP SOURCE TARGET

Programs of their own, so that one that lives in another virtual environment needs nothing of ours.
"""
