r"""The archive: for each table and week, files of JSON Lines in gzip, and a manifest for each.

``FOLDER/2026-10-19/preflight.intents.1.jsonl.gz`` holds a row per line, its columns by name:
numbers with a fraction, and times, as text; bytes as ``\\x`` and hexadecimal digits. Beside it
stands ``preflight.intents.1.json``, the manifest, which is written last: without it a file is not
complete. A complete file is never changed. What is archived of the same table and week later is
another part.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from cli.errors import CommandError
from cli.history.portions import Content, Portion

FORMAT = 1
COMPRESSION_LEVEL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a part of the archive holds, and of which schema."""

    format: int
    table: str
    week: str
    """The Monday that it begins with; ``before``: ids of earlier releases, without a day."""
    part: int
    file: str
    rows: int
    bytes: int
    """Of the file."""
    sha256: str
    """Of the file."""
    digest: str
    """Of the rows, whatever their order: compared with the table before they leave it."""
    key: tuple[str, ...]
    columns: dict[str, str]
    """PostgreSQL's types by name, in the order of the table."""
    release: str
    schema_revision: str
    archived_at: str

    @property
    def content(self) -> Content:
        return Content(rows=self.rows, digest=self.digest)


class PartWriter:
    """Writes the rows of a part. Until ``finish`` it has a name of its own."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(f".{path.name}.partial")
        _create_folder(path.parent)
        self._file: IO[bytes] = self._partial.open("wb")
        self._gzip = gzip.GzipFile(
            filename="", fileobj=self._file, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0
        )
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def write(self, lines: Sequence[str]) -> None:
        self._gzip.write("".join(f"{line}\n" for line in lines).encode())
        self.rows += len(lines)

    def finish(self) -> None:
        """Bring the file to the disk, and give it its name."""
        self._gzip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self._path)
        _sync_folder(self._path.parent)


def part_path(folder: Path, portion: Portion, part: int) -> Path:
    return folder / portion.week / f"{portion.table}.{part}.jsonl.gz"


def manifest_path(path: Path) -> Path:
    return path.with_name(f"{path.name.removesuffix('.jsonl.gz')}.json")


def save_manifest(folder: Path, manifest: Manifest) -> None:
    path = manifest_path(folder / manifest.week / manifest.file)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w") as file:
        json.dump(asdict(manifest), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(path.parent)


def load_manifests(folder: Path, portion: Portion) -> list[Manifest]:
    """Those of the complete parts of a table and week, the oldest first.

    Raises: CommandError where one cannot be read.
    """
    found = []
    for path in (folder / portion.week).glob(f"{portion.table}.*.json"):
        try:
            values = json.loads(path.read_text())
            found.append(Manifest(**{**values, "key": tuple(values["key"])}))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CommandError(
                f"{path} is no manifest of this release ({type(error).__name__}): restore it, or "
                "move it and its part elsewhere and run `slipstream history archive` again"
            ) from None
    return sorted(found, key=lambda each: each.part)


def measure(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file. Raises: OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def verify(folder: Path, manifest: Manifest) -> None:
    """Read a part back. Raises: CommandError where it is not what its manifest says."""
    path = folder / manifest.week / manifest.file
    try:
        is_whole = measure(path) == (manifest.bytes, manifest.sha256)
        rows = sum(1 for _ in read_rows(path)) if is_whole else 0
    except (OSError, EOFError, ValueError) as error:
        raise CommandError(f"{path} cannot be read back: {error}. {_WHAT_TO_DO}") from None
    if not is_whole or rows != manifest.rows:
        raise CommandError(f"{path} is not what its manifest says. {_WHAT_TO_DO}")


_WHAT_TO_DO = (
    "Nothing of it was pruned by this: restore the file, or move it and its manifest elsewhere and "
    "run `slipstream history archive` again"
)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a part. Raises: OSError, EOFError, ValueError where it is damaged."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _create_folder(folder: Path) -> None:
    """Create it and the folders above it that are missing, and bring their names to the disk."""
    if not folder.parent.exists():
        _create_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """A name is on the disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
