"""Puts the node in front of a chain: ``python -m services.paper_venue.polygon_node``."""

import argparse
import asyncio
import signal
import sys

from services.paper_venue.polygon_node.node import HOST, PolygonNode
from shared.domain.errors import Transient


async def serve(anvil: str, ports: list[int], *, block_seconds: float | None) -> None:
    """Serve a front on each port until SIGINT or SIGTERM; prints their addresses.

    Raises: Transient where anvil does not answer; OSError where a port is taken.
    """
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with PolygonNode(anvil, block_seconds=block_seconds, ports=ports) as node:
        sys.stdout.write(" ".join(each.url for each in node.fronts) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    arguments = argparse.ArgumentParser(description="A node like Polygon's in front of an anvil.")
    arguments.add_argument("--anvil", required=True, help="the address of an anvil, over HTTP")
    arguments.add_argument(
        "--port",
        type=int,
        action="append",
        required=True,
        help=f"where it listens on {HOST} (0: any free port); may be given again: two providers",
    )
    arguments.add_argument(
        "--block-seconds",
        type=float,
        help="seconds between two blocks; without it, node_mine builds them",
    )
    given = arguments.parse_args()
    try:
        asyncio.run(serve(given.anvil, given.port, block_seconds=given.block_seconds))
    except (Transient, OSError) as error:
        sys.exit(f"polygon node: {error}")


main()
