"""Find free TCP ports on this machine."""

from __future__ import annotations

import random
import socket
import weakref

from tools.stack.errors import StackError

HOST = "127.0.0.1"
# Below Linux's ephemeral range (from 32768), so that no outgoing connection takes a port between
# its choice here and the moment when the part binds it.
CANDIDATES = range(20_000, 32_768)
ATTEMPTS = 200


class Ports:
    """Reserves free ports, as long as it exists: no other process reserves them meanwhile, although
    no server may listen there yet, or at the moment.

    It keeps a socket bound to each port, which does not listen: a server that sets SO_REUSEADDR, as
    every part of the stack does, can listen there, and nobody else draws the port.
    """

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}
        weakref.finalize(self, _close_all, self._held)

    def reserve_free(self) -> int:
        """Return a port that nobody uses or holds, drawn at random."""
        for port in random.sample(CANDIDATES, min(ATTEMPTS, len(CANDIDATES))):
            if self._hold(port, shared=False):
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
        if requested in self._held or not self._hold(requested, shared=True):
            raise StackError(
                f"port {requested} (from {setting}) is in use: stop what listens there, or unset "
                f"{setting} to have a free one chosen"
            )
        return requested

    def _hold(self, port: int, *, shared: bool) -> bool:
        """Bind the port; return whether that was possible. ``shared``: although others hold it, or
        connections of an earlier server still end.
        """
        holder = socket.socket()
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(shared))
            holder.bind((HOST, port))
        except OSError:
            holder.close()
            return False
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held[port] = holder
        return True


def _close_all(held: dict[int, socket.socket]) -> None:
    for holder in held.values():
        holder.close()


def accepts_connections(port: int) -> bool:
    """Return whether a server listens on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
