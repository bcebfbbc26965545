"""Commands start fast, import only what they need, and report errors in one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.builders import LEADER, PROXY

HEAVY = ("aiokafka", "sqlalchemy", "web3", "faust", "aiohttp", "pydantic", "eth_utils", "rich")


@pytest.fixture(autouse=True)
def no_stack_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STACK_FOLDER", str(tmp_path))
    for variable in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "POLYGON_RPC_URL"):
        monkeypatch.delenv(variable, raising=False)


def test_help_imports_nothing_heavy() -> None:
    ask = f"import sys; import cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"

    ran = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_every_command_has_help() -> None:
    for command in (
        "follow",
        "unfollow",
        "follows",
        "status",
        "why",
        "pause",
        "resume",
        "debts",
        "demo",
        "topics",
        "db",
        "venue",
        "dead-letters",
        "history",
        "stack",
    ):
        result = CliRunner().invoke(app, [command, "--help"])

        assert result.exit_code == 0, (command, result.output)
        assert "Usage" in result.output


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (["follows"], "DATABASE_URL"),
        (["status"], "DATABASE_URL"),
        (["debts"], "DATABASE_URL"),
        (["why", "1a1a1a1a"], "DATABASE_URL"),
        (["pause"], "DATABASE_URL"),
        (["follow", LEADER, "--into", PROXY, "--percent", "10"], "DATABASE_URL"),
        (["db", "migrate"], "DATABASE_URL"),
        (["topics"], "KAFKA_BOOTSTRAP_SERVERS"),
        (["topics", "apply"], "KAFKA_BOOTSTRAP_SERVERS"),
        (["venue", "play", "recording.jsonl"], "POLYGON_RPC_URL"),
    ],
)
def test_without_a_running_system_a_command_says_what_to_do(
    arguments: list[str], variable: str
) -> None:
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 1
    assert f"{variable} is not set" in result.output
    assert "slipstream stack up" in result.output


def test_a_wrong_address_is_refused_before_the_database_is_used() -> None:
    result = CliRunner().invoke(app, ["follow", "0x12", "--into", PROXY, "--percent", "10"])

    assert result.exit_code == 1
    assert "'0x12' is no address" in result.output


def test_what_is_no_id_is_refused_before_the_database_is_used() -> None:
    result = CliRunner().invoke(app, ["why", "0x12"])

    assert result.exit_code == 1
    assert result.output.startswith("slipstream: '0x12' is no id")


def test_a_wrong_variable_is_named_with_the_allowed_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://somewhere")

    result = CliRunner().invoke(app, ["follows"])

    assert result.exit_code == 1
    assert "DATABASE_URL" in result.output
    assert "postgres" in result.output


def test_an_unreachable_database_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")

    result = CliRunner().invoke(app, ["follows"])

    assert result.exit_code == 1
    assert result.output.startswith("slipstream: DATABASE_URL: the database cannot be reached")


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--trades", "0"], "--trades"),
        (["--per-second", "often"], "--per-second"),
        (["--per-second", "0"], "above 0"),
        (["--until", "tomorrow"], "--until"),
    ],
)
def test_a_demo_with_impossible_options_does_not_start(arguments: list[str], wrong: str) -> None:
    result = CliRunner().invoke(app, ["demo", *arguments])

    assert result.exit_code != 0
    assert wrong in result.output


def test_the_demo_names_a_bad_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_TRADES", "none")

    result = CliRunner().invoke(app, ["demo"])

    assert result.exit_code == 2
    assert "DEMO_TRADES" in result.output
