"""Which exchanges' fills are read, and the errors of a wrong list."""

import pytest

from shared.chain.addresses import LIVE_EXCHANGES, SECOND_NEG_RISK_EXCHANGE_V2
from shared.chain.settings import ChainSettings
from shared.domain.errors import InvalidSettings
from shared.settings import read

VARIABLE = "POLYGON_EXTRA_EXCHANGES"
ANOTHER, YET_ANOTHER = "0x" + "5a" * 20, "0x" + "6b" * 20


def test_by_default_polymarkets_second_neg_risk_exchange_is_read_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    assert read(ChainSettings).exchanges == (*LIVE_EXCHANGES, SECOND_NEG_RISK_EXCHANGE_V2)


@pytest.mark.parametrize(
    ("value", "extra"),
    [
        ("", []),
        (" , ", []),
        (SECOND_NEG_RISK_EXCHANGE_V2.lower(), [SECOND_NEG_RISK_EXCHANGE_V2]),
        (LIVE_EXCHANGES[0].lower(), []),
    ],
    ids=["none", "blank", "lower case", "one that is read anyway"],
)
def test_the_list_replaces_the_default(
    monkeypatch: pytest.MonkeyPatch, value: str, extra: list[str]
) -> None:
    monkeypatch.setenv(VARIABLE, value)

    assert read(ChainSettings).exchanges == (*LIVE_EXCHANGES, *extra)


def test_several_are_read_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{ANOTHER}, {YET_ANOTHER},{ANOTHER.upper().replace('X', 'x')}")

    extra = read(ChainSettings).exchanges[len(LIVE_EXCHANGES) :]
    assert [each.lower() for each in extra] == [ANOTHER, YET_ANOTHER]


@pytest.mark.parametrize(
    "wrong",
    ["0x12", "exchange", "0x" + "0" * 40, "5a" * 21, "0xE2222d002000Ba0053CEF3375333610F64600036"],
    ids=["too short", "a word", "zero", "too long", "a wrong checksum"],
)
def test_a_wrong_address_ends_the_start_with_its_name(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv(VARIABLE, f"{SECOND_NEG_RISK_EXCHANGE_V2},{wrong}")

    with pytest.raises(
        InvalidSettings, match=rf"(?i)^{VARIABLE} is .*'{wrong}' is not the address"
    ):
        read(ChainSettings)
