"""What the commands that archive and prune refuse before they look at any row."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.commands import history
from cli.errors import CommandError
from cli.history import files
from cli.history.limits import DEFAULT_WEEKS, require_long_enough
from cli.history.open_work import OpenWork
from cli.history.portions import EARLIER_RELEASES, Portion, first_day_kept
from cli.main import app
from shared.domain.history import KEPT_FOR
from shared.streams.topics import TOPICS, WEEK

SEGMENT = timedelta(days=7)


def test_rows_are_kept_for_longer_than_any_declared_topic_delivers() -> None:
    longest = max(topic.retention for topic in TOPICS)

    assert longest + SEGMENT <= KEPT_FOR == DEFAULT_WEEKS * WEEK
    assert history.DEFAULT_WEEKS == DEFAULT_WEEKS


def test_a_shorter_retention_than_that_of_the_topics_is_refused() -> None:
    require_long_enough(DEFAULT_WEEKS, {})

    with pytest.raises(CommandError, match="at least 5"):
        require_long_enough(DEFAULT_WEEKS - 1, {})


@pytest.mark.parametrize(
    ("lifetime", "refused"),
    [
        (timedelta(weeks=5), ""),
        (timedelta(weeks=5, seconds=1), "give --weeks 6"),
        (None, "keeps its records for ever"),
    ],
)
def test_nothing_leaves_that_a_topic_of_the_cluster_may_deliver_again(
    lifetime: timedelta | None, refused: str
) -> None:
    lifetimes = {"debts": timedelta(weeks=1), "copy-outcomes": lifetime}
    if not refused:
        require_long_enough(5, lifetimes)
        return
    with pytest.raises(CommandError, match=refused) as error:
        require_long_enough(5, lifetimes)
    assert "copy-outcomes" in str(error.value)


@pytest.mark.parametrize(
    ("now", "first"),
    [
        # Weeks end on Sunday, and clocks may differ by a day.
        (datetime(2026, 2, 9, 23, tzinfo=UTC), date(2025, 12, 29)),
        (datetime(2026, 2, 10, 0, tzinfo=UTC), date(2026, 1, 5)),
        (datetime(2026, 2, 16, 23, tzinfo=UTC), date(2026, 1, 5)),
    ],
)
def test_a_week_is_old_enough_once_its_last_moment_is(now: datetime, first: date) -> None:
    assert first_day_kept(now, weeks=5) == first


def test_every_folder_that_was_made_for_a_part_is_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "_sync_folder", synced.append)
    week = tmp_path / "archives" / "mainnet" / "2025-12-29"

    with files.PartWriter(week / "preflight.intents.1.jsonl.gz") as part:
        part.finish()

    assert synced == [tmp_path, *list(week.parents)[1::-1], week]


def test_a_dead_letter_holds_its_week_and_those_before_it() -> None:
    work = OpenWork(by_week={}, dead_letters=2, dead_letters_until=date(2026, 1, 5))

    def hold(first_day: date) -> str:
        portion = Portion(
            table="t", first_day=first_day, relation="t", source="t r", condition="true", keys=()
        )
        return work.hold(portion)

    assert hold(date(2026, 1, 12)) == ""
    for first_day in (date(2026, 1, 5), date(2025, 12, 29), EARLIER_RELEASES):
        assert hold(first_day) == "2 open dead letters"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["prune", "--without-broker"], "--without-archive"),
        (["prune", "--weeks", "4", "--folder", "x"], "at least 5"),
        (["archive", "--weeks", "1", "--folder", "x"], "at least 5"),
    ],
)
def test_a_command_that_could_lose_rows_says_what_to_do(
    arguments: list[str], answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HISTORY_FOLDER", raising=False)

    result = CliRunner().invoke(app, ["history", *arguments])

    assert (result.exit_code, result.stdout) == (1, "")
    assert answer in result.stderr
