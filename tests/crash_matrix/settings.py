"""Which part of the matrix is played?"""

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    cells: str = ""
    """Only cells with all of these words in their name, such as ``executor: zombie plain``."""
    short: bool = False
    """Only the cells of the test suite."""

    def asks_for(self, name: str) -> bool:
        return all(word in name for word in self.cells.split())
