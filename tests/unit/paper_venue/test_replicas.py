"""A replica that lags shows orders, trades and balances as they were, and only while the fault is
on.
"""

from decimal import Decimal

from services.paper_venue.clob.replicas import History, Replicas
from services.paper_venue.exchange.orders import OrderKind, Side
from services.paper_venue.exchange.trades import Trade, TradeFilter, TradeStatus
from services.paper_venue.faults.catalogue import Fault, FaultOptions
from tests.unit.paper_venue.builders import USDC, YES, a_spend, an_order
from tests.unit.paper_venue.venue_harness import NOW, VenueHarness

KEY = "key-of-0xA"
STALE_READS = {Fault.STALE_READS: FaultOptions(seconds=Decimal(2))}


class LaggingVenue(VenueHarness):
    """A venue with a replica that lags two seconds under the fault; 0xB is the venue's own."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = NOW
        self.replicas = Replicas(self.venue, self.faults, lambda: self.now_ms)
        self.faults.exempt(["0xB"])

    def at(self, seconds: str) -> None:
        """Advance to so many seconds after the start, and run the replica's timer."""
        self.now_ms = NOW + int(Decimal(seconds) * 1000)
        self.replicas.on_timer()

    def shown(self, key: str = KEY) -> list[tuple[int, str]]:
        """(matched micro-shares, status) of the key's open orders, as a request reads them."""
        moment_ms = self.replicas.as_of_ms(wallet=None, signer="0xA")
        return [
            (each.resting.matched, each.status) for each in self.replicas.orders(key, moment_ms)
        ]

    def collateral(self) -> int:
        return self.replicas.account(
            "0xA", self.replicas.as_of_ms(wallet="0xA", signer="0xA")
        ).collateral

    def bought(self) -> Trade:
        answer = self.post(a_spend(10 * USDC), now_ms=NOW)
        assert isinstance(answer, tuple)
        assert answer[1] is not None
        return answer[1]

    def trade(self) -> Trade | None:
        moment_ms = self.replicas.as_of_ms(wallet="0xA", signer="0xA")
        return next(self.venue.publisher.trades.find(KEY, TradeFilter(), moment_ms=moment_ms), None)


def test_without_the_fault_reads_are_up_to_date() -> None:
    harness = LaggingVenue()
    harness.at("0")
    harness.post(an_order(Side.BUY, price=4_000))

    assert harness.shown() == [(0, "LIVE")]


def test_an_order_appears_and_disappears_with_the_replicas_lag() -> None:
    harness = LaggingVenue()
    harness.faults.set(STALE_READS)
    harness.at("0")
    order = an_order(Side.BUY, price=4_000)
    harness.at("1")
    harness.post(order)
    harness.at("1.05")

    assert harness.shown() == []
    harness.at("3.05")
    assert harness.shown() == [(0, "LIVE")]

    (order_id,) = harness.engine.resting
    harness.venue.on_cancel(order_id, owner=KEY, now_ms=harness.now_ms)
    harness.at("4")
    assert harness.shown() == [(0, "LIVE")]
    harness.at("6")
    assert harness.shown() == []


def test_a_held_order_is_shown_as_delayed() -> None:
    harness = LaggingVenue()
    harness.faults.set({Fault.DELAYED: FaultOptions()})
    harness.post(an_order(Side.SELL, maker="0xB", price=5_000))
    harness.post(a_spend(10 * USDC, kind=OrderKind.FOK))

    assert harness.shown() == [(0, "DELAYED")]


def test_a_trade_is_shown_with_its_earlier_status() -> None:
    harness = LaggingVenue()
    harness.post(an_order(Side.SELL, maker="0xB", price=5_000))
    trade = harness.bought()
    harness.venue.on_mined(trade, block=1, now_ms=NOW + 1_000)
    harness.faults.set(STALE_READS)

    harness.at("1.9")
    assert harness.trade() is None
    harness.at("2")
    assert (stale := harness.trade()) is not None
    assert stale.status is TradeStatus.MATCHED
    harness.at("3")
    assert (stale := harness.trade()) is not None
    assert stale.status is TradeStatus.MINED


def test_a_retried_trade_is_shown_with_its_earlier_transaction_hash() -> None:
    harness = LaggingVenue()
    harness.post(an_order(Side.SELL, maker="0xB", price=5_000))
    trade = harness.bought()
    first = trade.transaction_hash
    harness.venue.on_retrying(trade, "0xsecond", now_ms=NOW + 1_000)
    harness.faults.set(STALE_READS)

    harness.at("2.5")
    assert (stale := harness.trade()) is not None
    assert (stale.status, stale.transaction_hash) == (TradeStatus.MATCHED, first)


def test_a_balance_is_shown_as_it_was() -> None:
    harness = LaggingVenue()
    harness.faults.set(STALE_READS)
    harness.at("0")
    before = harness.collateral()
    harness.post(an_order(Side.SELL, maker="0xB", price=5_000))
    harness.post(a_spend(10 * USDC), now_ms=NOW)
    harness.at("1")

    assert harness.collateral() == before
    harness.at("3")
    assert harness.collateral() < before
    assert (
        harness.engine.accounts.get("0xA").shares[YES]
        == harness.replicas.account("0xA", harness.now_ms).shares[YES]
    )


def test_the_history_is_discarded_when_the_fault_ends() -> None:
    harness = LaggingVenue()
    harness.faults.set(STALE_READS)
    harness.at("0")
    harness.faults.set({})
    harness.at("1")
    harness.post(an_order(Side.BUY, price=4_000))
    harness.faults.set(STALE_READS)
    harness.at("2")

    assert harness.shown() == [(0, "LIVE")]


def test_no_more_history_is_kept_than_can_be_read() -> None:
    history: History[int] = History()
    for second in range(100):
        history.record(second, now_ms=second * 1_000, keep_ms=3_000)

    assert len(history.versions) == 4
    assert history.at(96_500) == 96
    assert history.at(0) == 96
