"""How does a part die with its supervisor, also after kill -9? This file is run in the part's place
and becomes the part.

usage: tether.py PARENT_PID DEATH_SIGNAL NICENESS USER COMMAND...   (USER "" keeps the user)

The kernel is asked to send DEATH_SIGNAL when the parent's thread ends; a parent that ended before
the asking is noticed by its pid. Doing this in a program of its own, not between fork and exec of
the supervisor, keeps it safe beside threads.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(user: str) -> None:
    """Change to another user for good; the kernel forgets the death signal at this, so it comes
    first.
    """
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def die_with_parent(parent: int, death_signal: int) -> None:
    """Ask the kernel to signal this process when its parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the supervisor ended before this part began")


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and replace it with the command."""
    parent, death_signal, niceness, user, *command = arguments
    if user:
        become(user)
    die_with_parent(int(parent), int(death_signal))
    os.nice(int(niceness))
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command comes from our own supervisor
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
