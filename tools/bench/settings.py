"""The environment of the floor's processes."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class FloorSettings(BaseSettings):
    kafka: str = Field(validation_alias="KAFKA_BOOTSTRAP_SERVERS")
    database: str = Field(validation_alias="DATABASE_URL")
    feed: str = Field(validation_alias="RTDS_WS_URL")
    venue: str = Field(validation_alias="CLOB_URL")
    ready_file: Path = Field(validation_alias="FLOOR_READY_FILE")
