"""The display of a running demo, on a terminal and elsewhere."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console

from cli.demo.copies import Row
from cli.demo.screen import (
    PlainScreen,
    Progress,
    build_copies_table,
    format_cells,
    format_headline,
    step,
)
from shared.domain.money import Side
from tests.builders import LEADER, PROXY, usdc

ROW = Row(
    leader=LEADER,
    market="Will it rain? Yes",
    side=Side.BUY,
    usdc=usdc("12.345678"),
    price=Decimal("0.5012345"),
    follower=PROXY,
    state="refused: halted",
    since_seen=timedelta(milliseconds=123, microseconds=999),
)


def progress(*, requested: int | None = 200, rows: list[Row] | None = None) -> Progress:
    return Progress(
        phase="trading",
        leader_trades=7,
        requested=requested,
        states=Counter(confirmed=3, refused=1),
        refusals=Counter(halted=1),
        rows=rows or [],
    )


def test_a_row_shortens_addresses_and_rounds_amounts() -> None:
    leader, market, side, usdc_shown, price, follower, state, milliseconds = format_cells(ROW)

    assert (leader, follower) == (f"0x0000…{LEADER[-4:]}", f"0x0000…{PROXY[-4:]}")
    assert (market, side, state) == ("Will it rain? Yes", "BUY", "refused: halted")
    assert (usdc_shown, price, milliseconds) == ("12.35", "0.5012", "123")


def test_the_headline_shows_the_progress() -> None:
    assert (
        format_headline(progress())
        == "trading: 7 of 200 leader trades, 4 copies: 3 confirmed, 1 refused (halted 1)"
    )
    assert format_headline(progress(requested=None)).startswith("trading: 7 leader trades")


def test_the_table_fits_a_narrow_terminal() -> None:
    console = Console(width=80, record=True, file=StringIO())

    console.print(build_copies_table([ROW]))

    assert all(len(line.rstrip()) <= 80 for line in console.export_text().splitlines())


def test_without_a_terminal_each_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    with step(screen, "Kafka"):
        pass
    screen.show(progress())

    printed = capsys.readouterr().out.splitlines()

    assert printed[0].endswith("done: Kafka")
    assert "7 of 200" in printed[1]


def test_a_step_that_fails_is_not_shown_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), step(PlainScreen(), "Kafka"):
        raise RuntimeError

    assert "done" not in capsys.readouterr().out
