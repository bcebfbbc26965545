"""Which part of the matrix is played?"""

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    cells: str = ""
    """Only cells with this in their name, such as ``executor`` or ``zombie``."""
    short: bool = False
    """Only the cells of the test suite."""
