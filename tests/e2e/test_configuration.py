"""A service with a bad setting does not start: it says which variable, what it got and what it
wants, and shows no secret.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tools.pipeline.parts import SERVICES
from tools.stack.settings import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NOWHERE = "127.0.0.1:9"
WITH_A_DATABASE = [name for name in SERVICES if name != "pricer"]
WITH_THE_CHAIN = ["ingest", "preflight", "tx-monitor"]
WITH_THE_VENUE = ["ingest", "pricer", "executor"]
OWN_SETTINGS = [
    ("ingest", "INGEST_CHAIN_LOOK_BACK_BLOCKS", "-1", "greater than or equal to 0"),
    ("pricer", "PRICER_MAX_TOKENS", "900", "less than or equal to 500"),
    ("preflight", "PREFLIGHT_MAX_TRADE_USDC", "0", "greater than 0"),
    ("executor", "EXECUTOR_LOOK_EVERY", "often", "valid timedelta"),
    ("tx-monitor", "TX_MONITOR_RECEIPTS_BATCH_SIZE", "many", "valid integer"),
    ("debt-recovery", "DEBT_RECOVERY_SUM_INTERVAL", "seldom", "valid timedelta"),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """In the right form; nothing listens at these addresses."""
    keys = tmp_path / "keys.json"
    keys.write_text("[]")
    return {
        "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "DATABASE_URL": f"postgresql://nobody@{NOWHERE}/none",
        "POLYGON_RPC_URL": f"http://{NOWHERE}",
        "CLOB_URL": f"http://{NOWHERE}",
        "EXECUTOR_KEYS_FILE": str(keys),
    }


@pytest.mark.parametrize("service", SERVICES)
async def test_a_variable_that_is_not_set_is_named(
    environment: dict[str, str], service: str
) -> None:
    del environment["KAFKA_BOOTSTRAP_SERVERS"]

    assert "KAFKA_BOOTSTRAP_SERVERS is not set: field required" in await refusal_of(
        service, environment
    )


@pytest.mark.parametrize("service", SERVICES)
async def test_a_broker_that_does_not_answer_is_named(
    environment: dict[str, str], service: str
) -> None:
    said = await refusal_of(service, environment)

    assert f"KAFKA_BOOTSTRAP_SERVERS is '{NOWHERE}': no broker answers there" in said


@pytest.mark.parametrize(
    ("service", "variable", "value", "wants"), OWN_SETTINGS, ids=[each[1] for each in OWN_SETTINGS]
)
async def test_a_wrong_value_is_shown_with_what_is_wanted(
    environment: dict[str, str], service: str, variable: str, value: str, wants: str
) -> None:
    said = await refusal_of(service, environment | {variable: value})

    assert f"{variable} is '{value}': " in said
    assert wants in said


@pytest.mark.parametrize("service", WITH_THE_CHAIN)
async def test_a_node_must_have_an_address(environment: dict[str, str], service: str) -> None:
    said = await refusal_of(service, environment | {"POLYGON_RPC_URL": "polygon"})

    assert "POLYGON_RPC_URL is 'polygon': input should be a valid url" in said


@pytest.mark.parametrize("service", WITH_THE_VENUE)
async def test_a_venue_must_have_an_address(
    environment: dict[str, str], kafka: str, service: str
) -> None:
    said = await refusal_of(
        service, environment | {"KAFKA_BOOTSTRAP_SERVERS": kafka, "CLOB_URL": "polymarket"}
    )

    assert "CLOB_URL is 'polymarket': input should be a valid url" in said


@pytest.mark.parametrize("service", WITH_A_DATABASE)
async def test_a_wrong_database_address_is_told_without_its_password(
    environment: dict[str, str], kafka: str, service: str
) -> None:
    password = secrets.token_hex(16)
    wrong = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "DATABASE_URL": f"mysql://slipstream:{password}@db/slipstream",
    }

    said = await refusal_of(service, environment | wrong)

    assert "DATABASE_URL is 'mysql://[redacted]@db/slipstream': url scheme should be" in said
    assert "'postgresql'" in said
    assert password not in said


async def test_a_node_address_is_told_without_its_key(environment: dict[str, str]) -> None:
    """Providers put the key into the path."""
    key = secrets.token_urlsafe(24)

    said = await refusal_of(
        "preflight", environment | {"POLYGON_RPC_URL": f"htps://polygon.example/v2/{key}"}
    )

    assert "POLYGON_RPC_URL is 'htps://polygon.example/" in said
    assert key not in said


async def test_a_missing_keys_file_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    missing = tmp_path / "none.json"

    said = await refusal_of("executor", environment | {"EXECUTOR_KEYS_FILE": str(missing)})

    assert f"EXECUTOR_KEYS_FILE is '{missing}': path does not point to a file" in said


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda key: [{"proxy": "0x" + "1" * 40, "private_key": key[:-2]}], "is not a private key"),
        (lambda key: [{"private_key": key}], "entry 0 needs a proxy and a private_key"),
        (lambda key: {"private_key": key}, "must be a list"),
        (
            lambda key: [{"proxy": "nobody", "private_key": key}],
            "the proxy of entry 0 is not an address",
        ),
        (lambda key: [{"proxy": "0x" + "1" * 40, "private_key": key}], "does not own that wallet"),
    ],
    ids=["too short", "no proxy", "no list", "no address", "no wallet of his"],
)
async def test_a_keys_file_with_something_wrong_in_it_never_shows_the_key(
    environment: dict[str, str], damage: Callable[[str], object], complaint: str
) -> None:
    key = "0x" + secrets.token_hex(32)
    await asyncio.to_thread(
        Path(environment["EXECUTOR_KEYS_FILE"]).write_text, json.dumps(damage(key))
    )

    said = await refusal_of("executor", environment)

    assert complaint in said
    assert key[2:40] not in said.lower()


async def refusal_of(service: str, environment: Mapping[str, str]) -> str:
    """What the service said before it ended with a status that is not 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"services.{service.replace('-', '_')}",
        cwd=REPOSITORY,
        env=dict(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    said = output.decode()
    assert process.returncode not in (0, None), said
    assert "Traceback" not in said, said
    return said
