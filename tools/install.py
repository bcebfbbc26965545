"""Install a lock file into .venv, for `make`: runs on any Python 3 with nothing installed, and says
what is missing.

    python3 tools/install.py LOCK STAMP

pip's own configuration names the package index. STAMP is written last: it tells make that this
lock file is installed.
"""

import collections
import os
import shutil
import subprocess
import sys
import time

MIN_VERSION = (3, 11)
REQUIRED_MEGABYTES = 1000
TAIL_LINES = 25
VENV = ".venv"
PIP = [
    os.path.join(VENV, "bin", "python"),
    "-m",
    "pip",
    "--disable-pip-version-check",
    "--no-input",
]
ADVICE = (
    ("no space left on device", "The disk is full: make room, and run the same command again."),
    (
        "connection",
        "The package index could not be reached: check the network and pip's configuration "
        "(`pip config list`).",
    ),
    (
        "no matching distribution",
        "The package index that pip is configured for lacks this package, at least for this "
        "Python.",
    ),
    (
        "do not match the hashes",
        "What was downloaded differs from the lock file: is the index a mirror that repackages?",
    ),
)


def main(lock: str, stamp: str) -> None:
    started = time.monotonic()
    require_python()
    require_space()
    make_venv()
    with open(lock) as text:
        count = sum(1 for line in text if "==" in line and not line.startswith((" ", "#")))
    install(f"packages of {lock}", ["--require-hashes", "-r", lock], count)
    install("slipstream itself", ["--no-deps", "-e", "."], 1)
    with open(stamp, "w") as file:
        file.write("installed\n")
    print(f"Installed in {int(time.monotonic() - started)} s.")


def require_python() -> None:
    if sys.version_info < MIN_VERSION:
        found, minimum = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, MIN_VERSION))
        sys.exit(
            f"Python {minimum} or later is needed, {sys.executable} is {found}. "
            f"Choose another: make PYTHON=python{minimum} ..."
        )


def require_space() -> None:
    free = shutil.disk_usage(".").free // 2**20
    if free < REQUIRED_MEGABYTES and not os.path.exists(VENV):
        sys.exit(
            f"{free} MB are free on this disk, the installation takes about "
            f"{REQUIRED_MEGABYTES} MB: make room."
        )


def make_venv() -> None:
    try:
        import ensurepip  # noqa: F401 - Debian splits it off
        import venv
    except ImportError:
        sys.exit("This Python has no venv: on Debian or Ubuntu, `apt-get install python3-venv`.")
    if (
        os.path.exists(PIP[0])
        and subprocess.call(
            [*PIP, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        == 0
    ):
        return
    print(f"Making {VENV} with Python {sys.version_info[0]}.{sys.version_info[1]} ...", flush=True)
    venv.create(VENV, clear=True, with_pip=True)


def install(what: str, arguments: "list[str]", count: int) -> None:
    """Run pip and show its progress; if it fails, exit with the end of its output and advice."""
    command = [*PIP, "install", "--progress-bar", "off", *arguments]
    tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
    done = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    ) as pip:
        for line in pip.stdout or ():
            tail.append(line)
            done += line.startswith(("Collecting", "Requirement already satisfied", "Obtaining"))
            show_progress(what, min(done, count), count, line)
    if pip.returncode != 0:
        text = "".join(tail)
        advice = [what_to_do for sign, what_to_do in ADVICE if sign in text.lower()]
        sys.exit("\npip failed. The end of its output:\n" + text + "\n".join(advice))
    end_status_line()


def show_progress(what: str, done: int, count: int, line: str) -> None:
    if line.startswith("Installing collected"):
        print_status(f"Installing {what}: unpacking ...")
    elif sys.stdout.isatty() or (line.startswith("Collecting") and (done % 25 == 0 or done == 1)):
        print_status(f"Installing {what}: {done} of {count} ...")


def print_status(text: str) -> None:
    print(
        "\r\033[K" + text if sys.stdout.isatty() else text,
        end="" if sys.stdout.isatty() else "\n",
        flush=True,
    )


def end_status_line() -> None:
    if sys.stdout.isatty():
        print()


if __name__ == "__main__":
    main(*sys.argv[1:])
