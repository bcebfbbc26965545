"""How is each of our own processes started, and when is it ready?"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from tools.stack.settings import REPOSITORY
from tools.stack.supervisor import Part

SERVICES = ("ingest", "pricer", "preflight", "executor", "tx-monitor", "debt-recovery")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePart:
    """A service as a part of the supervisor, and where it answers probes."""

    part: Part
    health_url: str


def service_part(
    name: str,
    environment: Mapping[str, str],
    *,
    port: int,
    instance: int = 0,
    launcher: str | None = None,
) -> ServicePart:
    """``name`` as deployed (``tx-monitor``), its probes at ``port``; several instances of one
    service are told apart by their number.

    ``launcher``: a module that runs the service's own module, which it is given.
    """
    health_url = f"http://127.0.0.1:{port}"
    full_name = name if instance == 0 else f"{name}-{instance}"
    part = Part(
        name=full_name,
        command=[
            sys.executable,
            "-m",
            *([launcher] if launcher else []),
            f"services.{name.replace('-', '_')}",
        ],
        cwd=REPOSITORY,
        env={
            **environment,
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": str(port),
            "KAFKA_GROUP_INSTANCE_ID": full_name,
        },
        ready=lambda: _answers(f"{health_url}/ready"),
        ready_within=180,
        stop_within=15,
    )
    return ServicePart(part=part, health_url=health_url)


def venue_part(
    ready_file: Path, *, rpc_url: str, npm_folder: Path, environment: Mapping[str, str]
) -> Part:
    """The paper venue; ``ready_file`` tells its addresses once everything answers."""
    ready_file.unlink(missing_ok=True)
    return Part(
        name="paper-venue",
        command=[sys.executable, "-m", "services.paper_venue"],
        cwd=REPOSITORY,
        env={
            **environment,
            "PAPER_VENUE_RPC_URL": rpc_url,
            "PAPER_VENUE_NPM_FOLDER": str(npm_folder),
            "PAPER_VENUE_READY_FILE": str(ready_file),
        },
        ready=lambda: _is_written(ready_file),
        ready_within=180,
        stop_within=5,
    )


async def _is_written(ready_file: Path) -> bool:
    try:
        orjson.loads(ready_file.read_bytes())  # noqa: ASYNC240 - a small file of this machine
    except (FileNotFoundError, orjson.JSONDecodeError):
        return False
    return True


async def _answers(url: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(url) as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
