"""Which TCP ports of this machine may the stack use?"""

from __future__ import annotations

import random
import socket

from tools.stack.errors import StackError

HOST = "127.0.0.1"
# Below Linux's ephemeral range (from 32768): no outgoing connection can take a port between our choosing it and the part's binding it.
CANDIDATES = range(20_000, 32_768)
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Return whether a server could bind this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that nothing listens on, drawn at random so that stacks started side by side choose apart."""
    for port in random.sample(CANDIDATES, ATTEMPTS):
        if is_free(port):
            return port
    raise StackError(f"none of {ATTEMPTS} ports between {CANDIDATES.start} and {CANDIDATES.stop - 1} is free on {HOST}: end some programs")


def chosen_port(wanted: int | None, *, setting: str) -> int:
    """Return the wanted port if it is free, any free one if none is wanted.

    Raises:
        StackError: the wanted port is in use; names the setting that asked for it.
    """
    if wanted is None:
        return free_port()
    if not is_free(wanted):
        raise StackError(f"port {wanted} (from {setting}) is in use: stop what listens there, or unset {setting} to have a free one chosen")
    return wanted


def accepts_connections(port: int) -> bool:
    """Return whether a server listens on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
