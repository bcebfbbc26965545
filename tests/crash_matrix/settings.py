"""Which cells are run, on how many deployments, and where the results are written."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    cells: str = ""
    """Only cells with all of these words in their name, such as ``executor: zombie plain``."""
    short: bool = False
    """Only the cells that the end-to-end tests run."""
    side_by_side: int = Field(default=1, gt=0)
    """The number of deployments that share the cells: while one waits, another works."""
    results: Path | None = None
    """Each result is appended to this file as a line of JSON, and cells that passed by it are
    skipped: so a matrix is continued."""

    def includes(self, name: str) -> bool:
        return all(word in name for word in self.cells.split())
