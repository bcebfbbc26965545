"""Which TCP ports of this machine may the stack use?"""

from __future__ import annotations

import random
import socket

from tools.stack.errors import StackError

HOST = "127.0.0.1"
# Below Linux's ephemeral range (from 32768): no outgoing connection can take a port between our
# choosing it and the part's binding it.
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
    """Hands out free ports, none of them twice: those handed out are not bound yet when the next is
    chosen.
    """

    def __init__(self) -> None:
        self._given: set[int] = set()

    def free(self) -> int:
        """Return a port that nothing listens on, drawn at random so that stacks started side by
        side choose apart.
        """
        for port in random.sample(CANDIDATES, ATTEMPTS):
            if port not in self._given and is_free(port):
                self._given.add(port)
                return port
        raise StackError(
            f"{ATTEMPTS} ports between {CANDIDATES.start} and {CANDIDATES.stop - 1} are all in use: end some programs"
        )

    def chosen(self, wanted: int | None, *, setting: str) -> int:
        """Return the wanted port if it is free, any free one if none is wanted.

        Raises:
            StackError: the wanted port is in use; names the setting that asked for it.
        """
        if wanted is None:
            return self.free()
        if wanted in self._given or not is_free(wanted):
            raise StackError(
                f"port {wanted} (from {setting}) is in use: stop what listens there, or unset {setting} to have a free one chosen"
            )
        self._given.add(wanted)
        return wanted


def accepts_connections(port: int) -> bool:
    """Return whether a server listens on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
