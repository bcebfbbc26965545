"""The services and the paper venue as parts of the supervisor: command, environment, readiness."""

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
    """A service as a part of the supervisor, and the URL of its probes."""

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
    """A service by its deployed name (``tx-monitor``), with its probes on ``port``.

    ``instance``: the number that distinguishes instances of one service.
    ``launcher``: a module that gets the service's module as its argument and runs it.
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
    """The paper venue. It writes its addresses to ``ready_file`` when it is ready."""
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
