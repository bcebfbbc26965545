"""The executor's handler, and the ports that it needs."""

from services.executor.handler.handler import Handler
from services.executor.handler.ports import Orders

__all__ = ["Handler", "Orders"]
