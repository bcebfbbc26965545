"""Preflight's handler, and the ports that it needs."""

from services.preflight.handler.handler import MAX_JUDGEMENT, Handler
from services.preflight.handler.ports import (
    CommitmentsQuery,
    ControlsReader,
    Recording,
    Verdicts,
)

__all__ = [
    "MAX_JUDGEMENT",
    "CommitmentsQuery",
    "ControlsReader",
    "Handler",
    "Recording",
    "Verdicts",
]
