"""Run a command that the kernel ends when the supervisor ends, also after kill -9.

usage: die_with_parent.py PARENT_PID DEATH_SIGNAL NICENESS USER COMMAND...

This program replaces itself by COMMAND. USER "" keeps the user.

The kernel sends DEATH_SIGNAL when the parent's thread ends. A parent that had ended before this was
requested is noticed by its pid. A program of its own does this, because code between the
supervisor's fork and exec would be unsafe in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def change_user(user: str) -> None:
    """Change to another user permanently. This clears the death signal, so it comes first."""
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def request_death_signal(parent: int, death_signal: int) -> None:
    """Let the kernel signal this process when its parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the supervisor ended before this part began")


def main(arguments: list[str]) -> None:
    """Set the user, the death signal and the priority, then replace this process by the command."""
    parent, death_signal, niceness, user, *command = arguments
    if user:
        change_user(user)
    request_death_signal(int(parent), int(death_signal))
    os.nice(int(niceness))
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command comes from our own supervisor
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
