"""One hop with one library each: consume a record, parse its JSON, produce it with the same key and
wait for all replicas.

    python -m tools.bench.contestants.<name> BOOTSTRAP SOURCE TARGET

They are separate programs, so that one in another virtual environment needs no module of ours.
"""
