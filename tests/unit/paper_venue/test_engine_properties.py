"""Whatever is traded: no money or share appears or vanishes, the books stay sorted and uncrossed, and nobody jumps the queue."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.paper_venue.accounts import collateral_for
from services.paper_venue.engine import Accepted, Engine
from services.paper_venue.matching import MatchKind
from services.paper_venue.orders import DUST, PRICE_ONE, Order, OrderKind, Side
from tests.unit.paper_venue.builders import MARKET, NO, SHARE, USDC, YES, a_spend, an_order, rich

WALLETS = ("0xA", "0xB", "0xC")
TICKS = st.integers(1, 99).map(lambda tick: tick * 100)
SIZES = st.integers(500, 50_000).map(lambda cents: cents * 10_000)


@dataclass
class Totals:
    collateral: int
    shares: dict[str, int]


class AnyMarket(RuleBasedStateMachine):
    """Anybody posts and cancels anything."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine([MARKET])
        for wallet in WALLETS:
            self.engine.accounts.refresh(wallet, rich(collateral=10_000 * USDC, shares=10_000 * SHARE))
        self.expected = Totals(len(WALLETS) * 10_000 * USDC, dict.fromkeys((YES, NO), len(WALLETS) * 10_000 * SHARE))

    def place(self, order: Order) -> None:
        standing = {id: (r.order, r.remaining) for id, r in self.engine.resting.items()}
        before = self.present()
        result = self.engine.place(order)
        if not isinstance(result, Accepted):
            assert self.present() == before
            assert {id: (r.order, r.remaining) for id, r in self.engine.resting.items()} == standing
            return
        self.expected.collateral -= result.match.fee
        for fill in result.match.fills:
            sign = {MatchKind.COMPLEMENTARY: 0, MatchKind.MINT: 1, MatchKind.MERGE: -1}[fill.kind]
            self.expected.collateral -= sign * fill.shares
            for token in (YES, NO):
                self.expected.shares[token] += sign * fill.shares
        self.nobody_was_passed_over(result, standing)
        self.everybody_got_his_price(result)

    def nobody_was_passed_over(self, result: Accepted, standing: dict[str, tuple[Order, int]]) -> None:
        """Who was reached before an order, stood better or earlier; and all before the last were taken whole."""
        fills = result.match.fills
        ranks = [(f.maker.yes_price() if result.order.is_bid else -f.maker.yes_price(), f.maker.placed_at_ms) for f in fills]
        assert ranks == sorted(ranks)
        assert all(standing[f.maker.id][1] - f.shares <= DUST for f in fills[:-1])
        if fills:
            reached = {f.maker.id for f in fills} | {own.order.id for own in result.match.own}
            better = [o for id, (o, _) in standing.items() if id not in reached and o.is_bid != result.order.is_bid]
            assert all((o.yes_price() if result.order.is_bid else -o.yes_price(), o.placed_at_ms) > ranks[-1] for o in better)

    def everybody_got_his_price(self, result: Accepted) -> None:
        taker, match = result.order, result.match
        assert match.gotten >= match.given * taker.taker_amount // taker.maker_amount
        for fill in match.fills:
            maker = fill.maker
            gotten = fill.shares if maker.side is Side.BUY else fill.maker_collateral
            assert gotten == fill.given * maker.taker_amount // maker.maker_amount

    @rule(
        wallet=st.sampled_from(WALLETS),
        side=st.sampled_from(Side),
        token=st.sampled_from((YES, NO)),
        price=TICKS,
        shares=SIZES,
        kind=st.sampled_from((OrderKind.GTC, OrderKind.GTC, OrderKind.FAK)),
    )
    def somebody_posts(self, wallet: str, side: Side, token: str, price: int, shares: int, kind: OrderKind) -> None:
        self.place(an_order(side, token=token, price=price, shares=shares, maker=wallet, kind=kind))

    @rule(
        wallet=st.sampled_from(WALLETS),
        token=st.sampled_from((YES, NO)),
        price=TICKS,
        cents=st.integers(100, 100_000),
        kind=st.sampled_from((OrderKind.FOK, OrderKind.FAK)),
    )
    def somebody_spends(self, wallet: str, token: str, price: int, cents: int, kind: OrderKind) -> None:
        self.place(a_spend(cents * 10_000, price=price, token=token, kind=kind, maker=wallet))

    @rule(number=st.integers(0, 1_000))
    def somebody_cancels(self, number: int) -> None:
        standing = sorted(self.engine.resting)
        if standing:
            assert self.engine.cancel(standing[number % len(standing)]) is not None

    def present(self) -> Totals:
        accounts = [self.engine.accounts.of(wallet) for wallet in WALLETS]
        return Totals(sum(a.collateral for a in accounts), {token: sum(a.shares[token] for a in accounts) for token in (YES, NO)})

    @invariant()
    def nothing_appears_or_vanishes(self) -> None:
        assert self.present() == self.expected

    @invariant()
    def nobody_owes_or_has_reserved_more_than_he_has(self) -> None:
        for wallet in WALLETS:
            account = self.engine.accounts.of(wallet)
            assert account.spendable(token_id=None, exchange=MARKET.exchange) >= 0
            assert all(account.spendable(token_id=token, exchange=MARKET.exchange) >= 0 for token in (YES, NO))

    @invariant()
    def what_is_reserved_is_what_stands(self) -> None:
        for wallet in WALLETS:
            standing = [r for r in self.engine.resting.values() if r.order.maker == wallet]
            bids = sum(collateral_for(r.order, r.remaining) for r in standing if r.order.side is Side.BUY)
            assert self.engine.accounts.of(wallet).reserved_collateral == bids

    @invariant()
    def the_book_is_sorted_and_uncrossed(self) -> None:
        book = self.engine.books[MARKET.condition_id]
        bids, asks = book.bids(0), book.asks(0)
        assert [level.price for level in bids] == sorted({level.price for level in bids})
        assert [level.price for level in asks] == sorted({level.price for level in asks}, reverse=True)
        assert all(level.shares > 0 for level in bids + asks)
        if bids and asks:
            assert bids[-1].price < asks[-1].price

    @invariant()
    def a_level_is_as_deep_as_its_orders(self) -> None:
        book = self.engine.books[MARKET.condition_id]
        listed = sum(level.shares for level in book.bids(0) + book.asks(0))
        assert listed == sum(resting.remaining for resting in self.engine.resting.values())


TestAnyMarket = AnyMarket.TestCase
TestAnyMarket.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(price=TICKS, shares=SIZES, token=st.sampled_from((YES, NO)), side=st.sampled_from(Side))
def test_an_order_and_its_mirror_stand_at_one_price(price: int, shares: int, token: str, side: Side) -> None:
    order = an_order(side, token=token, price=price, shares=shares)
    mirror = an_order(Side(1 - side), token=NO if token == YES else YES, price=PRICE_ONE - price, shares=shares)

    assert (order.yes_price(), order.is_bid) == (mirror.yes_price(), mirror.is_bid)
