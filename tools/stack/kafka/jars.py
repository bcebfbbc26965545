"""Download Kafka's jars and check each against its hash in the lock file."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext

from tools.stack.cache import Cache, compute_sha256, require_space
from tools.stack.errors import StackError

LOCK_FILE = Path(__file__).parent / "jgo.lock.toml"
DOWNLOAD_MEGABYTES = 120
MAX_DOWNLOADS = 8
ATTEMPTS = 3
TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One Maven artifact, pinned; `sha256` in hex."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def load_lock(lock_file: Path = LOCK_FILE) -> tuple[Jar, ...]:
    """Return the jars of the lock file, in the order of the class path."""
    dependencies = tomllib.loads(lock_file.read_text())["dependencies"]
    return tuple(
        Jar(
            group=entry["groupId"],
            artifact=entry["artifactId"],
            version=entry["version"],
            sha256=entry["sha256"],
        )
        for entry in dependencies
    )


def lock_id(lock_file: Path = LOCK_FILE) -> str:
    """Return a short name of this set of jars."""
    return compute_sha256(lock_file)[:16]


def find_missing(folder: Path, jars: tuple[Jar, ...]) -> tuple[Jar, ...]:
    """Return the jars that are absent from the folder or differ from their hash."""
    return tuple(jar for jar in jars if not _is_intact(folder / jar.file_name, jar))


async def install(cache: Cache) -> tuple[Path, ...]:
    """Download the jars that are missing, and return the paths of all, each checked by its hash.

    Raises:
        StackError: no disk space, no network, or a download whose hash is wrong.
    """
    folder = cache.folder / "kafka" / lock_id() / "jars"
    jars = load_lock()
    async with cache.locked("kafka-jars"):
        missing = await asyncio.to_thread(find_missing, folder, jars)
        if missing:
            require_space(
                folder,
                megabytes=DOWNLOAD_MEGABYTES,
                purpose=f"downloading {len(missing)} jars of Apache Kafka",
            )
            cancelled = threading.Event()
            try:
                await asyncio.to_thread(_download_all, cache, missing, folder, cancelled)
            finally:
                cancelled.set()
    return tuple(folder / jar.file_name for jar in jars)


def _is_intact(path: Path, jar: Jar) -> bool:
    return path.is_file() and compute_sha256(path) == jar.sha256


def _download_all(
    cache: Cache, jars: tuple[Jar, ...], folder: Path, cancelled: threading.Event
) -> None:
    for ahead_of_time in folder.parent.glob("*.aot"):
        ahead_of_time.unlink()  # it identifies the jars by their times and could not be used again
    with cache.staging() as staging, ThreadPoolExecutor(MAX_DOWNLOADS) as threads:
        list(threads.map(lambda jar: _download(jar, staging, folder, cancelled), jars))


def _download(jar: Jar, staging: Path, folder: Path, cancelled: threading.Event) -> None:
    reason = "interrupted"
    for attempt in range(1, ATTEMPTS + 1):
        if cancelled.is_set():
            break
        try:
            downloaded = _fetch(jar, staging / f"{jar.artifact}-{attempt}")
        # requests' errors are OSErrors; RuntimeError is jgo's "not found"
        except (OSError, RuntimeError) as error:
            reason = str(error)
            continue
        if _is_intact(downloaded, jar):
            downloaded.rename(folder / jar.file_name)
            return
        reason = f"its SHA-256 is {compute_sha256(downloaded)}, the lock file has {jar.sha256}"
    raise StackError(
        f"cannot download {jar.group}:{jar.artifact}:{jar.version} (the first start needs the "
        f"network): {reason}"
    )


def _fetch(jar: Jar, repository: Path) -> Path:
    # A repository of its own for each attempt: jgo would take an interrupted download for the whole
    # file.
    remotes = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    context = MavenContext(
        repo_cache=repository, local_repos=[], remote_repos=remotes, timeout=TIMEOUT_SECONDS
    )
    path: Path = (
        context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    )
    return path
