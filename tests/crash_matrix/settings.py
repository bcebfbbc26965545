"""Which part of the matrix is played, on how much at once, and where is it written down?"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    cells: str = ""
    """Only cells with all of these words in their name, such as ``executor: zombie plain``."""
    short: bool = False
    """Only the cells of the test suite."""
    side_by_side: int = Field(default=1, gt=0)
    """So many deployments, each of which plays cells of its own: while one waits, another works."""
    results: Path | None = None
    """Each cell's result is appended to this file as a line of JSON, and what passed by it is left
    out: so a matrix is played on."""

    def asks_for(self, name: str) -> bool:
        return all(word in name for word in self.cells.split())
