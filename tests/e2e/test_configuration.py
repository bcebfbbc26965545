"""A service with a wrong setting does not start: its error names the variable, its value and what
is expected, and contains no secret.
"""

import asyncio
import json
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.system.forks import forks
from tools.pipeline.parts import SERVICES
from tools.stack.settings import REPOSITORY
from tools.stack.supervisor import Process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NOWHERE = "127.0.0.1:9"
DATABASE_SERVICES = [name for name in SERVICES if name != "pricer"]
CHAIN_SERVICES = ["ingest", "preflight", "tx-monitor"]
FILL_READERS = ["ingest", "executor", "tx-monitor"]
VENUE_SERVICES = ["ingest", "pricer", "executor"]
OWN_SETTINGS = [
    ("ingest", "INGEST_CHAIN_LOOKBACK_BLOCKS", "-1", "greater than or equal to 0"),
    ("pricer", "PRICER_MAX_TOKENS", "900", "less than or equal to 500"),
    ("preflight", "PREFLIGHT_MAX_TRADE_USDC", "0", "greater than 0"),
    ("executor", "EXECUTOR_POLL_INTERVAL", "often", "valid timedelta"),
    ("tx-monitor", "TX_MONITOR_RECEIPTS_BATCH_SIZE", "many", "valid integer"),
    ("debt-recovery", "DEBT_RECOVERY_SUM_INTERVAL", "seldom", "valid timedelta"),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Well-formed variables; nothing listens at these addresses."""
    keys = tmp_path / "keys.json"
    keys.write_text("[]")
    return {
        "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "DATABASE_URL": f"postgresql://nobody@{NOWHERE}/none",
        "POLYGON_RPC_URL": f"http://{NOWHERE}",
        "CLOB_URL": f"http://{NOWHERE}",
        "GAMMA_URL": f"http://{NOWHERE}",
        "EXECUTOR_KEYS_FILE": str(keys),
    }


@pytest.mark.parametrize("service", SERVICES)
async def test_the_error_names_a_missing_variable(
    environment: dict[str, str], service: str
) -> None:
    del environment["KAFKA_BOOTSTRAP_SERVERS"]

    assert "KAFKA_BOOTSTRAP_SERVERS is not set: field required" in await start_and_fail(
        service, environment, forked=False
    )


@pytest.mark.parametrize("service", SERVICES)
async def test_the_error_names_a_broker_that_does_not_answer(
    environment: dict[str, str], service: str
) -> None:
    output = await start_and_fail(service, environment)

    assert f"KAFKA_BOOTSTRAP_SERVERS is '{NOWHERE}': no broker answers there" in output


@pytest.mark.parametrize(
    ("service", "variable", "value", "expected"),
    OWN_SETTINGS,
    ids=[each[1] for each in OWN_SETTINGS],
)
async def test_the_error_shows_a_wrong_value_and_what_is_expected(
    environment: dict[str, str], service: str, variable: str, value: str, expected: str
) -> None:
    output = await start_and_fail(service, environment | {variable: value})

    assert f"{variable} is '{value}': " in output
    assert expected in output


@pytest.mark.parametrize("service", CHAIN_SERVICES)
async def test_the_address_of_the_node_must_be_a_url(
    environment: dict[str, str], service: str
) -> None:
    output = await start_and_fail(service, environment | {"POLYGON_RPC_URL": "polygon"})

    assert "POLYGON_RPC_URL is 'polygon': input should be a valid url" in output


@pytest.mark.parametrize("service", FILL_READERS)
async def test_the_further_exchanges_must_be_addresses(
    environment: dict[str, str], kafka: str, service: str
) -> None:
    output = await start_and_fail(
        service,
        environment | {"KAFKA_BOOTSTRAP_SERVERS": kafka, "POLYGON_EXTRA_EXCHANGES": "0xe2222d"},
    )

    assert "POLYGON_EXTRA_EXCHANGES is '0xe2222d': value error, '0xe2222d' is not the" in output


@pytest.mark.parametrize("service", VENUE_SERVICES)
async def test_the_address_of_the_venue_must_be_a_url(
    environment: dict[str, str], kafka: str, service: str
) -> None:
    output = await start_and_fail(
        service, environment | {"KAFKA_BOOTSTRAP_SERVERS": kafka, "CLOB_URL": "polymarket"}
    )

    assert "CLOB_URL is 'polymarket': input should be a valid url" in output


@pytest.mark.parametrize("service", DATABASE_SERVICES)
async def test_a_wrong_database_address_is_shown_without_its_password(
    environment: dict[str, str], kafka: str, service: str
) -> None:
    password = secrets.token_hex(16)
    wrong = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "DATABASE_URL": f"mysql://slipstream:{password}@db/slipstream",
    }

    output = await start_and_fail(service, environment | wrong)

    assert "DATABASE_URL is 'mysql://[redacted]@db/slipstream': url scheme should be" in output
    assert "'postgresql'" in output
    assert password not in output


async def test_a_wrong_node_address_is_shown_without_its_key(environment: dict[str, str]) -> None:
    """Providers of nodes put the API key into the path."""
    key = secrets.token_urlsafe(24)

    output = await start_and_fail(
        "preflight", environment | {"POLYGON_RPC_URL": f"htps://polygon.example/v2/{key}"}
    )

    assert "POLYGON_RPC_URL is 'htps://polygon.example/" in output
    assert key not in output


async def test_the_error_names_a_missing_keys_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    missing = tmp_path / "none.json"

    output = await start_and_fail("executor", environment | {"EXECUTOR_KEYS_FILE": str(missing)})

    assert f"EXECUTOR_KEYS_FILE is '{missing}': path does not point to a file" in output


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda key: [{"proxy": "0x" + "1" * 40, "private_key": key[:-2]}], "is not a private key"),
        (lambda key: [{"private_key": key}], "entry 0 needs proxy and private_key"),
        (lambda key: {"private_key": key}, "must be a list"),
        (
            lambda key: [{"proxy": "nobody", "private_key": key}],
            "the proxy of entry 0 is not an address",
        ),
        (lambda key: [{"proxy": "0x" + "1" * 40, "private_key": key}], "does not own that wallet"),
    ],
    ids=["too short", "no proxy", "no list", "no address", "no wallet of his"],
)
async def test_the_error_about_a_wrong_keys_file_does_not_contain_the_key(
    environment: dict[str, str], damage: Callable[[str], object], complaint: str
) -> None:
    key = "0x" + secrets.token_hex(32)
    await asyncio.to_thread(
        Path(environment["EXECUTOR_KEYS_FILE"]).write_text, json.dumps(damage(key))
    )

    output = await start_and_fail("executor", environment)

    assert complaint in output
    assert key[2:40] not in output.lower()


async def start_and_fail(
    service: str, environment: Mapping[str, str], *, forked: bool = True
) -> str:
    """Start the service, which must end with an error; all that it printed. ``forked``: without
    importing its libraries, which takes most of the time.
    """
    module = f"services.{service.replace('-', '_')}"
    with tempfile.TemporaryFile() as file:
        process: Process = await (
            forks().start([module], file, environment=environment)
            if forked
            else asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module),
                cwd=REPOSITORY,
                env=dict(environment),
                stdout=file,
                stderr=file,
            )
        )
        try:
            await process.wait()
        except asyncio.CancelledError:
            process.send_signal(signal.SIGKILL)
            raise
        file.seek(0)
        output = file.read().decode()
    assert process.returncode not in (0, None), output
    assert "Traceback" not in output, output
    return output
