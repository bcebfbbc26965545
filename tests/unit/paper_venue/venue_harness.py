"""A venue without sockets and chain, and everything that it published."""

from dataclasses import replace

from services.paper_venue.exchange.matching_engine import Accepted, MatchingEngine, Refused
from services.paper_venue.exchange.orders import Order
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.faults.catalogue import Faults
from services.paper_venue.lifecycle.venue import PostedOrder, Venue
from shared.chain.orders import InvalidSignature, SignedOrder
from tests.unit.paper_venue.builders import MARKET, rich
from tests.unit.paper_venue.fakes import FakeChain, FakeChannels, FakeSettlements

NOW = 1_790_000_000_000


class VenueHarness:
    """A venue with funded wallets 0xA, 0xB and 0xC."""

    def __init__(self, *orders: Order) -> None:
        self.channels = FakeChannels()
        self.settlements = FakeSettlements()
        self.chain = FakeChain()
        self.engine = MatchingEngine([MARKET])
        self.faults = Faults()
        self.venue = Venue(
            engine=self.engine,
            verify=self.verify,
            settlements=self.settlements,
            channels=self.channels,
            chain=self.chain,
            faults=self.faults,
        )
        for wallet in ("0xA", "0xB", "0xC"):
            self.engine.accounts.refresh(wallet, rich())
        for order in orders:
            self.post(order)

    def verify(self, signed: SignedOrder, owner: str | None, exchange: str) -> str:
        if signed.signature == "0xforged":
            raise InvalidSignature("not signed by the order's signer")
        return f"0x{signed.salt:064x}"

    def post(
        self, order: Order, *, signature: str = "0x", post_only: bool = False, now_ms: int = NOW
    ) -> tuple[Accepted, Trade | None] | Refused | str:
        signed = replace(order.signed, signature=signature)
        posted = PostedOrder(
            signed=signed,
            kind=order.kind,
            owner=order.owner,
            post_only=post_only,
            expiration=order.expiration,
        )
        return self.venue.on_order(posted, now_ms=now_ms)

    def user_event_types(self, owner: str) -> list[tuple[str, str]]:
        """(event_type, status) of the user channel's events for this key."""
        return [
            (event["event_type"], event["status"])
            for event_owner, event in self.channels.user
            if event_owner == owner
        ]

    def user_events(self, owner: str) -> list[tuple[str, str]]:
        """(type, status) of the user channel's events for this key."""
        return [
            (event["type"], event["status"])
            for event_owner, event in self.channels.user
            if event_owner == owner
        ]

    def last_level(self) -> tuple[str, str]:
        """(price, size) of the market channel's last change of a YES level."""
        changes = [event for event in self.channels.market if event["event_type"] == "price_change"]
        return changes[-1]["price_changes"][0]["price"], changes[-1]["price_changes"][0]["size"]


class DelayingVenue(VenueHarness):
    """A venue whose market delays takers by 150 ms."""

    def __init__(self, *orders: Order) -> None:
        super().__init__(*orders)
        self.engine.list_market(replace(MARKET, taker_delay_ms=150))
