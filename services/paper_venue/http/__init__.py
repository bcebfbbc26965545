"""What the HTTP APIs and the sockets share: requests, replies, authentication and JSON shapes.

Serves            every part that answers clients.
Owns              the API keys, and the shapes of REST bodies (``payloads.py``) and of socket events
                  (``socket_events.py``).
Must not import   anything of the paper venue but ``exchange``.
"""
