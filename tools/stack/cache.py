"""The folder of downloads: its locks, its staging folders, and the check for free disk space."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tools.stack.errors import StackError

MEGABYTE = 1_000_000
LOCK_POLL_SECONDS = 0.1
PID_WIDTH = 10
STAGING = "staging-"


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_space(folder: Path, *, megabytes: int, purpose: str) -> None:
    """Make the folder and check that its disk has enough free space.

    Raises:
        StackError: too little space, or the folder cannot be made; says how much is needed, for
        what and where.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(
            f"cannot make the folder {folder} for {purpose}: {error.strerror}"
        ) from error
    free = shutil.disk_usage(folder).free // MEGABYTE
    if free < megabytes:
        raise StackError(
            f"{purpose} needs {megabytes} MB in {folder}, and its disk has {free} MB left: free "
            "some space"
        )


class FolderLock:
    """An exclusive lock on a file that contains the holder's pid. The kernel releases the lock when
    the holder ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free, and return whether this process has it now."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StackError(f"cannot write {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.pwrite(descriptor, f"{os.getpid():<{PID_WIDTH}}".encode(), 0)
        self._descriptor = descriptor
        return True

    async def acquire(self, *, within: float | None = None) -> bool:
        """Wait for the lock, at most `within` seconds if given; return whether it is held now."""
        try:
            async with asyncio.timeout(within):
                # no event announces that another process has released the lock
                while not self.try_acquire():  # noqa: ASYNC110
                    await asyncio.sleep(LOCK_POLL_SECONDS)
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        """Release the lock, if this process has it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """Return the pid of the process that has the lock, None if it is free."""
        if self.try_acquire():
            self.release()
            return None
        pid = self._path.read_text().strip()
        return int(pid) if pid else None  # empty: it is being acquired for the first time


class Cache:
    """A folder of what was downloaded or computed once. Several processes may use it at a time, and
    an interrupted one leaves nothing half-written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lock(self, name: str) -> FolderLock:
        """Return the lock of that name, not yet acquired."""
        return FolderLock(self.folder / "locks" / name)

    @asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of that name, after waiting until it is free."""
        lock = self.lock(name)
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty folder on the cache's disk. Move what is complete out of it: the rest is
        deleted.

        The folder is locked while it is used, so that the next process recognises and deletes what
        a killed one left.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        with (
            tempfile.TemporaryDirectory(
                prefix=STAGING, dir=self.folder, ignore_cleanup_errors=True
            ) as folder,
            _lock_folder(Path(folder)),
        ):
            yield Path(folder)

    def _remove_abandoned(self) -> None:
        for folder in self.folder.glob(f"{STAGING}*"):
            with suppress(BlockingIOError, FileNotFoundError), _lock_folder(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
