"""Recordings of what a venue served: how they are written, read and played again.

Serves   the recorder (for the command line), and a world with a recording's markets and trades.
Owns     the file format: JSON lines, see ``recording``; a release reads its own version only.
Imports  not the control endpoint, which reports on a recording without knowing how it is played.
"""
