"""The settings of what transfers pay."""

import pytest

from services.tx_monitor.settings import Settings
from shared.domain.errors import InvalidSettings
from shared.settings import read


@pytest.fixture(autouse=True)
def _node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:8545")
    monkeypatch.setenv("TX_MONITOR_MAX_FEE_GWEI", "1600")


def test_what_cancels_may_pay_as_much_more_as_pools_want(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TX_MONITOR_CANCEL_MAX_FEE_GWEI", "2000")

    assert read(Settings).build_policy().cancel_cap == 2_000 * 10**9


def test_fees_that_no_transfer_at_its_cap_can_be_cancelled_with_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TX_MONITOR_CANCEL_MAX_FEE_GWEI", "1999")

    with pytest.raises(InvalidSettings) as raised:
        read(Settings)

    assert "TX_MONITOR_CANCEL_MAX_FEE_GWEI must be at least 1.25 times" in str(raised.value)
    assert "could not be cancelled" in str(raised.value)
