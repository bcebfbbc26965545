"""What a database's URL says about its hosts, and how its statements are planned."""

from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pydantic import ValidationError

from shared.db.connecting import PLANNING, build_connector
from shared.db.settings import DatabaseSettings


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://slip:secret@db:5433/stream", (("db", 5433),)),
        ("postgresql://slip:secret@db/stream", (("db", 5432),)),
        ("postgresql://slip:secret@[::1]:5433/stream", (("::1", 5433),)),
        ("postgresql://slip:secret@one:5433,two/stream", (("one", 5433), ("two", 5432))),
        ("postgresql://slip:se%2Ccret@one,two:1/stream", (("one", 5432), ("two", 1))),
    ],
)
def test_the_hosts_are_those_of_the_url(url: str, hosts: tuple[tuple[str, int], ...]) -> None:
    connector = build_connector(DatabaseSettings.model_validate({"url": url}))

    assert connector.hosts == hosts
    assert (connector.url.username, connector.url.database) == ("slip", "stream")
    assert connector.url.password in ("secret", "se,cret")


@pytest.mark.parametrize(
    "limits",
    [
        {"statement_timeout": timedelta(seconds=7)},
        {"lock_timeout": timedelta(seconds=6)},
        {"answer_timeout": timedelta(seconds=4)},
    ],
)
def test_limits_that_hide_one_another_are_refused(limits: dict[str, timedelta]) -> None:
    with pytest.raises(ValidationError, match="DATABASE_LOCK_TIMEOUT"):
        DatabaseSettings.model_validate({"url": "postgresql://db/stream"} | limits)


async def test_statements_are_planned_to_look_up_unless_they_work_on_whole_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[dict[str, str]] = []

    async def connect(*, server_settings: dict[str, str], **_: Any) -> None:
        sent.append(server_settings)

    monkeypatch.setattr(asyncpg, "connect", connect)
    connector = build_connector(DatabaseSettings.model_validate({"url": "postgresql://db/stream"}))

    await connector.connect()
    await connector.connect_without_limits()

    with_limits, without_limits = sent
    assert PLANNING == {
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "jit": "off",
    }
    assert with_limits.items() >= PLANNING.items()
    assert not without_limits.keys() & PLANNING.keys()
