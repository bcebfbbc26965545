"""The settings of preflight: which are refused, and that they reach the checks."""

from decimal import Decimal

import pytest

from services.preflight.app import build_limits
from services.preflight.settings import Settings
from shared.domain.errors import InvalidSettings
from shared.settings import read
from tests.builders import seconds, usdc


def test_an_exit_may_be_older_than_an_entry_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")

    assert read(Settings).max_exit_age > read(Settings).max_entry_age


@pytest.mark.parametrize("age", ["PT59S", "P35D"], ids=["below that of entries", "as long as rows"])
def test_a_maximum_exit_age_out_of_its_range_is_refused_at_start(
    age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFLIGHT_MAX_EXIT_AGE", age)

    with pytest.raises(InvalidSettings, match="PREFLIGHT_MAX_EXIT_AGE"):
        read(Settings)


def test_a_price_band_that_no_entry_passes_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFLIGHT_MIN_ENTRY_PRICE", "0.6")
    monkeypatch.setenv("PREFLIGHT_MAX_ENTRY_PRICE", "0.5")

    with pytest.raises(InvalidSettings, match="PREFLIGHT_MIN_ENTRY_PRICE"):
        read(Settings)


ADDRESS = "0xA53135c37e6093625e98866b0a44a428976b3C55"


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("FOLLOWERS", ADDRESS[:-1], "0x and 40 hexadecimal digits, this has 41 characters"),
        ("FOLLOWERS", f"{ADDRESS},{ADDRESS[:-1]}g", "only the digits"),
        ("LEADERS", ADDRESS.replace("A5", "a5"), "does not fit its checksum"),
        ("LEADERS", "", "names must stand between its commas"),
        ("LEADERS", f"{ADDRESS},", "names must stand between its commas"),
        ("TOKENS", "0x12", "a token id is a decimal number"),
        ("TOKENS", "1,-2", "a token id is a decimal number"),
        ("TOKENS", str(1 << 256), "a token id is a decimal number"),
    ],
)
def test_a_list_with_a_wrong_name_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, wrong: str
) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv(f"PREFLIGHT_ALLOWED_{name}", value)

    with pytest.raises(InvalidSettings, match=f"PREFLIGHT_ALLOWED_{name} is .*{wrong}"):
        read(Settings)


def test_the_lists_reach_the_checks_with_their_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFLIGHT_ALLOWED_FOLLOWERS", f"{ADDRESS.lower()}, {ADDRESS}")
    monkeypatch.setenv("PREFLIGHT_ALLOWED_TOKENS", "12, 013")

    limits = build_limits(read(Settings))

    assert limits.allowed_followers == frozenset({ADDRESS})
    assert limits.allowed_leaders is None
    assert limits.allowed_tokens == frozenset({"12", "13"})


def test_every_limit_of_the_settings_reaches_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFLIGHT_MAX_MARKET_DAILY_USDC", "1.5")
    monkeypatch.setenv("PREFLIGHT_MAX_GLOBAL_DAILY_USDC", "2.5")
    monkeypatch.setenv("PREFLIGHT_MAX_OPEN_POSITIONS", "3")
    monkeypatch.setenv("PREFLIGHT_MAX_ENTRIES_PER_MINUTE", "4")
    monkeypatch.setenv("PREFLIGHT_MAX_SPREAD_BPS", "500")
    monkeypatch.setenv("PREFLIGHT_MIN_ENTRY_PRICE", "0.05")
    monkeypatch.setenv("PREFLIGHT_MAX_ENTRY_PRICE", "0.95")
    monkeypatch.setenv("PREFLIGHT_MAX_CLOCK_SKEW", "PT7S")

    limits = build_limits(read(Settings))

    assert (limits.max_market_daily_usdc, limits.max_global_daily_usdc) == (
        usdc("1.5"),
        usdc("2.5"),
    )
    assert (limits.max_open_positions, limits.max_entries_per_minute) == (3, 4)
    assert limits.max_spread_bps == 500
    assert (limits.min_entry_price, limits.max_entry_price) == (Decimal("0.05"), Decimal("0.95"))
    assert limits.max_clock_skew == seconds(7)


def test_no_guardrail_is_set_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    limits = build_limits(read(Settings))

    assert (limits.max_market_daily_usdc, limits.max_global_daily_usdc) == (None, None)
    assert (limits.max_open_positions, limits.max_entries_per_minute) == (None, None)
    assert limits.max_spread_bps is None
    assert (limits.min_entry_price, limits.max_entry_price) == (Decimal(0), Decimal(1))
