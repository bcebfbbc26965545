"""Find free TCP ports on this machine."""

from __future__ import annotations

import random
import socket

from tools.stack.errors import StackError

HOST = "127.0.0.1"
# Below Linux's ephemeral range (from 32768), so that no outgoing connection takes a port between
# its choice here and the moment when the part binds it.
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


class Ports:
    """Reserves free ports, none of them twice, although a reserved port may not be bound yet."""

    def __init__(self) -> None:
        self._reserved: set[int] = set()

    def reserve_free(self) -> int:
        """Return a port that nothing listens on, drawn at random so that stacks that start at the
        same time choose different ones.
        """
        for port in random.sample(CANDIDATES, ATTEMPTS):
            if port not in self._reserved and is_free(port):
                self._reserved.add(port)
                return port
        raise StackError(
            f"{ATTEMPTS} ports between {CANDIDATES.start} and {CANDIDATES.stop - 1} are all in "
            "use: end some programs"
        )

    def reserve(self, requested: int | None, *, setting: str) -> int:
        """Return the requested port if it is free, any free one if none is requested.

        Raises:
            StackError: the requested port is in use; names the setting that requested it.
        """
        if requested is None:
            return self.reserve_free()
        if requested in self._reserved or not is_free(requested):
            raise StackError(
                f"port {requested} (from {setting}) is in use: stop what listens there, or unset "
                f"{setting} to have a free one chosen"
            )
        self._reserved.add(requested)
        return requested


def accepts_connections(port: int) -> bool:
    """Return whether a server listens on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
