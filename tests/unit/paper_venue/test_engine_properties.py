"""In any sequence of orders, money and shares are conserved, books stay sorted and uncrossed, and
orders match by price, then time.
"""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.accounts import UNLIMITED, Holdings, collateral_for
from services.paper_venue.exchange.matching import MatchKind
from services.paper_venue.exchange.matching_engine import Accepted, MatchingEngine, Refused
from services.paper_venue.exchange.orders import (
    FILL_TOLERANCE,
    PRICE_ONE,
    Market,
    MarketVersion,
    Order,
    OrderKind,
    Side,
)
from shared.chain.addresses import LIVE_EXCHANGES
from tests.unit.paper_venue.builders import MARKET, NO, SHARE, USDC, YES, a_spend, an_order, rich
from tests.unit.paper_venue.reference_book import Expected, ReferenceBook

MARKET_V2 = replace(
    MARKET,
    id="2",
    condition_id="0x" + "01" * 31 + "00",
    token_ids=("800", "801"),
    version=MarketVersion.V2,
    neg_risk=True,
)
TOKENS = (*MARKET.token_ids, *MARKET_V2.token_ids)
WALLETS = ("0xA", "0xB", "0xC")
TICKS = st.integers(1, 99).map(lambda tick: tick * 100)
PRICES = st.one_of(
    st.sampled_from((4_900, 5_000, 5_100)),
    st.integers(4_500, 5_500),
    st.sampled_from((1, 100, 9_900, 9_999)),
)
"""Mostly around the middle, where orders match."""
SIZES = st.integers(500, 50_000).map(lambda cents: cents * 10_000)
INITIAL_USDC = 2_000 * USDC


def funds(collateral: int, block: int) -> Holdings:
    return Holdings(
        block=block,
        collateral=collateral,
        allowances=dict.fromkeys(LIVE_EXCHANGES, UNLIMITED),
        shares=dict.fromkeys(TOKENS, 10_000 * SHARE),
        approvals=frozenset(LIVE_EXCHANGES),
    )


class AnyMarket(RuleBasedStateMachine):
    """Wallets post and cancel orders and spend funds on the chain, in one market of each version;
    ticks change and time passes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.engine = MatchingEngine([MARKET, MARKET_V2])
        self.reference = ReferenceBook()
        self.now_ms = 1_790_000_000_000
        self.block = 1
        for wallet in WALLETS:
            self.engine.accounts.refresh(wallet, funds(INITIAL_USDC, self.block))
        self.expected = self.present()
        self.given: Counter[str] = Counter()
        self.orders: dict[str, Order] = {}

    # --- rules: what wallets may do

    @initialize(sizes=st.lists(SIZES, min_size=12, max_size=12))
    def initial_quotes(self, sizes: list[int]) -> None:
        for number, shares in enumerate(sizes):
            market = (MARKET, MARKET_V2)[number % 2]
            side, outcome, price = (
                (Side.BUY, 0, 4_800),
                (Side.SELL, 0, 5_200),
                (Side.BUY, 1, 4_700),
                (Side.SELL, 1, 5_300),
            )[number // 3]
            self.an_order_is_posted(
                WALLETS[number % 3],
                side,
                market.token_ids[outcome],
                price,
                shares,
                OrderKind.GTC,
                0,
            )

    @rule(
        wallet=st.sampled_from(WALLETS),
        side=st.sampled_from(Side),
        token=st.sampled_from(TOKENS),
        price=PRICES,
        shares=SIZES,
        kind=st.sampled_from(
            (
                OrderKind.GTC,
                OrderKind.GTC,
                OrderKind.GTC,
                OrderKind.GTD,
                OrderKind.FAK,
                OrderKind.FOK,
            )
        ),
        delay_ms=st.sampled_from((0, 0, 150, 3_000)),
    )
    def an_order_is_posted(
        self,
        wallet: str,
        side: Side,
        token: str,
        price: int,
        shares: int,
        kind: OrderKind,
        delay_ms: int,
    ) -> None:
        market = self.engine.market_by_token[token]
        on_grid = min(max(price // market.tick, 1), PRICE_ONE // market.tick - 1) * market.tick
        expiration = self.now_ms // 1000 + 61 if kind is OrderKind.GTD else 0
        order = an_order(
            side,
            token=token,
            price=on_grid,
            shares=shares,
            maker=wallet,
            kind=kind,
            market=market,
            expiration=expiration,
        )
        self.post(replace(order, placed_at_ms=self.now_ms), delay_ms)

    @rule(
        wallet=st.sampled_from(WALLETS),
        token=st.sampled_from(TOKENS),
        price=st.sampled_from((5_000, 5_400, 9_900)),
        cents=st.integers(100, 20_000),
        kind=st.sampled_from((OrderKind.FOK, OrderKind.FAK)),
        delay_ms=st.sampled_from((0, 150)),
    )
    def a_market_buy_is_posted(
        self, wallet: str, token: str, price: int, cents: int, kind: OrderKind, delay_ms: int
    ) -> None:
        order = a_spend(cents * 10_000, price=price, token=token, kind=kind, maker=wallet)
        self.post(
            replace(order, market=self.engine.market_by_token[token], placed_at_ms=self.now_ms),
            delay_ms,
        )

    @rule(number=st.integers(0, 1_000))
    def an_order_is_cancelled(self, number: int) -> None:
        resting = sorted(self.engine.resting)
        if resting:
            order_id = resting[number % len(resting)]
            assert self.engine.cancel(order_id) is not None
            self.reference.remove({order_id})

    @rule(market=st.sampled_from((MARKET, MARKET_V2)), tick=st.sampled_from((1, 10, 100)))
    def the_tick_changes(self, market: Market, tick: int) -> None:
        self.engine.list_market(replace(market, tick=tick))

    @rule(ms=st.sampled_from((1, 150, 3_000, 61_000)))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        for order in self.engine.due_orders(self.now_ms):
            self.judge(order, self.engine.release(order), self.reference.expect(order))
        expired = {
            s.order.id
            for s in self.reference.orders
            if s.order.expiration and s.order.expiration * 1000 <= self.now_ms
        }
        assert {
            resting.order.id for resting, _ in self.engine.cancel_expired(self.now_ms)
        } == expired
        self.reference.remove(expired)

    @rule(wallet=st.sampled_from(WALLETS), part=st.sampled_from((10, 80, 95, 100)))
    def a_wallet_spends_on_the_chain(self, wallet: str, part: int) -> None:
        """Without the venue: its next read shows it, and the newest orders without funds are
        cancelled.
        """
        account = self.engine.accounts.get(wallet)
        spent = min(account.collateral, account.on_chain.collateral) * part // 100
        self.block += 1
        self.engine.accounts.refresh(wallet, funds(account.on_chain.collateral - spent, self.block))
        self.expected["USDC"] -= spent
        bids = [
            s.order.id
            for s in self.reference.orders
            if s.order.maker == wallet and s.order.side is Side.BUY
        ]
        dropped = [resting.order.id for resting, _ in self.engine.cancel_unfunded(wallet)]
        assert dropped == bids[::-1][: len(dropped)]
        self.reference.remove(set(dropped))

    # --- comparison with the reference

    def post(self, order: Order, delay_ms: int) -> None:
        self.orders[order.id] = order
        expected = self.reference.expect(order)
        before = self.state()
        planned = self.engine.plan(order)
        if isinstance(planned, Refused):
            self.judge(order, planned, expected)
            assert self.state() == before
        elif delay_ms and planned.fills:
            assert self.engine.hold(order, until_ms=self.now_ms + delay_ms).status == "delayed"
        else:
            self.judge(order, self.engine.execute(planned), expected)

    def judge(self, order: Order, result: Accepted | Refused, expected: Expected) -> None:
        if isinstance(result, Refused):
            assert result.is_killed is (result.text in (rules.FOK_KILLED, rules.FAK_KILLED))
            assert expected.is_killed or not result.is_killed
            return
        assert not expected.is_killed
        assert (
            tuple((f.maker.id, f.shares, f.maker_collateral) for f in result.match.fills)
            == expected.fills
        )
        assert tuple(resting.order.id for resting in result.match.own_orders) == expected.own_orders
        assert result.rests is (expected.resting_shares > 0)
        self.reference.carry_out(order, expected)
        self.expect_movements(result)
        self.check_limits_are_respected(result)

    def expect_movements(self, result: Accepted) -> None:
        self.expected["USDC"] -= result.match.fee
        for fill in result.match.fills:
            sign = {MatchKind.COMPLEMENTARY: 0, MatchKind.MINT: 1, MatchKind.MERGE: -1}[fill.kind]
            self.expected["USDC"] -= sign * fill.shares
            for token in result.order.market.token_ids:
                self.expected[token] += sign * fill.shares

    def check_limits_are_respected(self, result: Accepted) -> None:
        taker, match = result.order, result.match
        assert match.taking_amount >= match.making_amount * taker.taker_amount // taker.maker_amount
        assert (
            taker.kind is not OrderKind.FOK
            or taker.maker_amount - match.making_amount <= FILL_TOLERANCE
        )
        self.given[taker.id] += match.making_amount
        for fill in match.fills:
            maker = fill.maker
            gotten = fill.shares if maker.side is Side.BUY else fill.maker_collateral
            assert gotten == fill.fill_amount * maker.taker_amount // maker.maker_amount
            self.given[maker.id] += fill.fill_amount

    def state(self) -> object:
        return (
            self.present(),
            {id: r.remaining for id, r in self.engine.resting.items()},
            set(self.engine.held),
        )

    def present(self) -> dict[str, int]:
        accounts = [self.engine.accounts.get(wallet) for wallet in WALLETS]
        shares = {token: sum(account.shares[token] for account in accounts) for token in TOKENS}
        return {"USDC": sum(account.collateral for account in accounts)} | shares

    # --- invariants

    @invariant()
    def money_and_shares_are_conserved(self) -> None:
        assert self.present() == self.expected

    @invariant()
    def the_reference_book_has_the_same_orders(self) -> None:
        assert {s.order.id: s.remaining for s in self.reference.orders} == {
            id: r.remaining for id, r in self.engine.resting.items()
        }

    @invariant()
    def no_order_gives_more_than_it_signed(self) -> None:
        assert all(given <= self.orders[id].maker_amount for id, given in self.given.items())

    @invariant()
    def no_wallet_reserves_more_than_it_has(self) -> None:
        """Except makers of held orders: these are checked again when they are released."""
        makers_of_held_orders = {held.order.maker for held in self.engine.held.values()}
        for wallet in set(WALLETS) - makers_of_held_orders:
            account = self.engine.accounts.get(wallet)
            for market in (MARKET, MARKET_V2):
                assert account.spendable(token_id=None, exchange=market.exchange) >= 0
                assert all(
                    account.spendable(token_id=token, exchange=market.exchange) >= 0
                    for token in market.token_ids
                )

    @invariant()
    def reservations_equal_resting_and_held_orders(self) -> None:
        reserving = [(r.order, r.remaining) for r in self.engine.resting.values()]
        reserving += [(held.order, held.order.shares) for held in self.engine.held.values()]
        for wallet in WALLETS:
            account = self.engine.accounts.get(wallet)
            own = [(order, shares) for order, shares in reserving if order.maker == wallet]
            assert account.reserved_collateral == sum(
                collateral_for(o, shares) for o, shares in own if o.side is Side.BUY
            )
            assert account.reserved_collateral == sum(account.reserved_by_exchange.values())
            for token in TOKENS:
                offered = sum(
                    shares for o, shares in own if o.side is Side.SELL and o.token_id == token
                )
                assert account.reserved_shares.get(token, 0) == offered

    @invariant()
    def the_books_are_sorted_and_uncrossed(self) -> None:
        for book in self.engine.books.values():
            bids, asks = book.bids(0), book.asks(0)
            assert [level.price for level in bids] == sorted({level.price for level in bids})
            assert [level.price for level in asks] == sorted(
                {level.price for level in asks}, reverse=True
            )
            assert all(level.shares > 0 for level in bids + asks)
            assert not bids or not asks or bids[-1].price < asks[-1].price

    @invariant()
    def the_depth_of_a_level_is_the_sum_of_its_orders(self) -> None:
        for condition_id, book in self.engine.books.items():
            resting = [
                r
                for r in self.engine.resting.values()
                if r.order.market.condition_id == condition_id
            ]
            for level in book.bids(0) + book.asks(0):
                assert level.shares == sum(
                    r.remaining for r in resting if r.order.yes_price() == level.price
                )


TestAnyMarket = AnyMarket.TestCase
TestAnyMarket.settings = settings(max_examples=120, stateful_step_count=40)


@given(
    price=TICKS,
    shares=SIZES,
    spends=st.lists(
        st.integers(100, 999).map(lambda cents: cents * 10_000), min_size=5, max_size=20
    ),
)
def test_a_resting_buyer_pays_no_more_than_he_signed_however_often_he_is_filled(
    price: int, shares: int, spends: list[int]
) -> None:
    """Each buyer of the other outcome takes what his amount pays for: fractions of a share. The
    last one takes all that is left.
    """
    engine = MatchingEngine([MARKET])
    for wallet in WALLETS:
        engine.accounts.refresh(wallet, rich())
    buyer = an_order(Side.BUY, price=price, shares=shares)
    assert isinstance(engine.place(buyer), Accepted)

    paid = 0
    for usdc in (*spends, buyer.shares):
        result = engine.place(a_spend(usdc, token=NO, price=PRICE_ONE - price, maker="0xB"))
        if isinstance(result, Accepted):
            paid += sum(fill.fill_amount for fill in result.match.fills)

    assert paid <= buyer.maker_amount
    resting = engine.resting.get(buyer.id)
    assert resting is None or resting.given == paid


@given(price=TICKS, shares=SIZES, token=st.sampled_from((YES, NO)), side=st.sampled_from(Side))
def test_an_order_and_its_mirror_rest_at_the_same_price(
    price: int, shares: int, token: str, side: Side
) -> None:
    order = an_order(side, token=token, price=price, shares=shares)
    mirror = an_order(
        Side(1 - side), token=NO if token == YES else YES, price=PRICE_ONE - price, shares=shares
    )

    assert (order.yes_price(), order.is_bid) == (mirror.yes_price(), mirror.is_bid)
