"""A sale carries what the leader held right before it: an exit sells the same proportion."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from services.ingest.adapters import ChainHoldings
from services.ingest.adapters.holdings import RECENT_BLOCKS
from services.ingest.decisions import OtherTrade
from services.ingest.handler import Handler
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.blocks import Block, Receipt
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.intents import CopyIntended, Intent
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, a_fill, a_follow, controls, seconds, shares
from tests.fakes import Clock, FakeComplements, FakeHoldings, FakeTrades, FixedControls
from tests.unit.ingest.source_reports import Fill, chain_report

SOLD = shares(50)


def transaction_number(number: int) -> str:
    return f"0x{number:064x}"


def sale(number: int, **overrides: Any) -> LeaderFillSeen:
    """The socket's row of a sale of 50 shares, in a transaction of its own, of its own second."""
    return a_fill(
        **{
            "transaction_hash": transaction_number(number),
            "side": Side.SELL,
            "shares": SOLD,
            "filled_at": NOON + seconds(number),
            "occurred_at": NOON + seconds(number),
        }
        | overrides
    )


def in_block(fill: LeaderFillSeen, **overrides: Any) -> LeaderFillSeen:
    """The chain's row of it."""
    changed = {"source": FillSource.CHAIN, "row_id": "0xabc:1"} | overrides
    return fill.model_copy(update=changed)


class SellingLeader:
    """Ingest, and what the leader holds on the chain while none of his trades is settled."""

    def __init__(self, held: int) -> None:
        self.trades, self.holdings = FakeTrades(), FakeHoldings(held)
        self._handler = Handler(
            trades=self.trades,
            holdings=self.holdings,
            complements=FakeComplements(),
            controls=FixedControls(controls(a_follow())),
            now=Clock(NOON),
        )

    async def report(self, *fills: LeaderFillSeen) -> list[Intent]:
        return [
            message.intent
            for fill in fills
            for message in await self._handler.on_leader_fill_seen(fill)
            if isinstance(message, CopyIntended)
        ]

    async def proportions(self, *fills: LeaderFillSeen) -> list[tuple[int, int | None]]:
        """Of each sale that becomes an intent: what is sold, of what the leader held."""
        return [
            (each.leader_shares, each.leader_held_shares)
            for each in await self.report(*fills)
            if each.side is Side.SELL
        ]


async def test_two_exits_before_the_first_is_settled_sell_half_and_then_all() -> None:
    leader = SellingLeader(shares(100))

    assert await leader.proportions(sale(1), sale(2)) == [
        (SOLD, shares(100)),
        (SOLD, shares(50)),
    ]


async def test_two_exits_of_the_same_second_are_taken_in_the_order_they_were_seen_in() -> None:
    leader = SellingLeader(shares(100))
    second = sale(2, filled_at=sale(1).filled_at, row_id="another")

    assert await leader.proportions(sale(1), second) == [(SOLD, shares(100)), (SOLD, SOLD)]


async def test_what_he_has_just_bought_counts_as_held() -> None:
    leader = SellingLeader(0)
    bought = sale(1, side=Side.BUY, shares=shares(60))

    assert await leader.proportions(bought, sale(2)) == [(SOLD, shares(60))]


async def test_a_trade_that_was_matched_later_does_not_count() -> None:
    leader = SellingLeader(shares(100))

    assert await leader.proportions(sale(3), sale(2)) == [(SOLD, shares(100))] * 2


async def test_a_redelivered_sale_carries_what_it_carried_before() -> None:
    leader = SellingLeader(shares(100))
    first = await leader.report(sale(1))
    leader.holdings.shares = shares(70)

    assert await leader.report(sale(1)) == first
    assert len(leader.holdings.requests) == 1


async def test_a_later_slice_of_a_sale_is_sold_of_what_the_earlier_ones_left() -> None:
    """And the node is not asked again."""
    leader = SellingLeader(shares(100))
    rows = [sale(1, row_id=name, shares=shares(20)) for name in "abc"]

    assert await leader.proportions(*rows) == [
        (shares(20), shares(100)),
        (shares(20), shares(80)),
        (shares(20), shares(60)),
    ]
    assert len(leader.holdings.requests) == 1


async def test_who_seems_to_hold_less_than_he_sold_has_sold_all() -> None:
    leader = SellingLeader(shares(30))

    assert await leader.proportions(sale(1)) == [(SOLD, SOLD)]
    assert await leader.proportions(sale(1, row_id="another", shares=shares(10))) == [
        (shares(10), shares(10))
    ]


async def test_a_resent_sale_counts_once_against_what_he_held() -> None:
    """The settlement of the first transaction failed. The second one has ten shares more."""
    leader = SellingLeader(shares(100))
    resent = in_block(sale(2, shares=shares(60)), filled_at=NOON + seconds(5))

    assert await leader.proportions(sale(1), resent) == [
        (SOLD, shares(100)),
        (shares(10), shares(50)),
    ]
    last = in_block(sale(7, shares=shares(30)), filled_at=NOON + seconds(9))
    assert await leader.proportions(last) == [(shares(30), shares(40))]


async def test_two_sales_that_looked_like_one_are_sold_one_after_the_other() -> None:
    leader = SellingLeader(shares(100))
    other = in_block(sale(2), filled_at=NOON + seconds(5))
    confirmed = in_block(sale(1), filled_at=NOON + seconds(5))

    assert await leader.proportions(sale(1), other, confirmed) == [(SOLD, shares(100))]
    assert await leader.proportions(other) == [(SOLD, SOLD)]


async def test_a_buy_does_not_ask_what_he_holds() -> None:
    leader = SellingLeader(0)

    (intent,) = await leader.report(sale(1, side=Side.BUY))

    assert (intent.leader_held_shares, leader.holdings.requests) == (None, [])


async def test_while_the_node_fails_the_sale_is_not_recorded() -> None:
    leader = SellingLeader(0)

    class FailingHoldings(FakeHoldings):
        async def fetch_held_before(
            self, fill: LeaderFillSeen, earlier: Sequence[OtherTrade]
        ) -> int:
            raise Transient("no answer")

    handler = Handler(
        trades=leader.trades,
        holdings=FailingHoldings(),
        complements=FakeComplements(),
        controls=FixedControls(controls(a_follow())),
        now=Clock(NOON),
    )

    with pytest.raises(Transient):
        await handler.on_leader_fill_seen(sale(1))
    assert leader.trades.rows_by_trade == {}


class FakeChain(ChainClient):
    """A chain whose leader holds these shares in each block, and where transactions are mined."""

    def __init__(
        self, *, head: int, held: dict[int, int], mined: dict[str, int], failed: Sequence[str] = ()
    ) -> None:
        super().__init__(Rpc("http://nowhere"))
        self._head, self._held, self._mined, self._failed = head, held, mined, failed

    async def fetch_latest_block(self) -> Block:
        """A block a second, from NOON on."""
        timestamp = int((NOON + timedelta(seconds=self._head)).timestamp())
        return Block(number=self._head, hash="0x", parent_hash="0x", timestamp=timestamp)

    async def fetch_shares_and_receipts(
        self, wallet: str, token_id: int, *, block_number: int, tx_hashes: Sequence[str] = ()
    ) -> tuple[int, list[Receipt | None]]:
        assert (wallet, str(token_id)) == (a_fill().leader, a_fill().token_id)
        if block_number not in self._held:
            raise Transient("the node has no state of this block")
        return self._held[block_number], [self._find_receipt(each) for each in tx_hashes]

    def _find_receipt(self, tx_hash: str) -> Receipt | None:
        number = self._mined.get(tx_hash)
        if number is None:
            return None
        sold = Fill(
            order=1,
            token_id=a_fill().token_id,
            side=Side.SELL,
            shares=SOLD,
            usdc=SOLD // 2,
            took_liquidity=True,
        )
        return Receipt(
            tx_hash=tx_hash,
            block_number=number,
            block_hash="0x",
            succeeded=tx_hash not in self._failed,
            gas_used=1,
            logs=tuple(json.loads(chain_report([sold], block=number).raw)),
        )


def other_trade(
    number: int, side: Side = Side.SELL, *, confirmed_s: int | None = None
) -> OtherTrade:
    return OtherTrade(
        trade_id=f"trade-{number}",
        transaction_hash=transaction_number(number),
        side=side,
        shares=SOLD,
        matched_at=NOON + seconds(number),
        first_seen_at=NOON + seconds(number),
        confirmed_at=None if confirmed_s is None else NOON + seconds(confirmed_s),
    )


SALE = sale(3)
OWN, FIRST, SECOND = SALE.transaction_hash, transaction_number(1), transaction_number(2)


async def fetch_held(chain: FakeChain, earlier: Sequence[OtherTrade]) -> int:
    """What the leader held before the sale, in micro-shares."""
    holdings = ChainHoldings(chain, exchanges=LIVE_EXCHANGES)
    return await holdings.fetch_held_before(SALE, earlier)


@pytest.mark.parametrize(
    ("mined", "held", "expected"),
    [
        ({}, {10: 100}, 50),
        ({FIRST: 9}, {10: 50}, 50),
        ({OWN: 11}, {10: 100}, 50),
        ({FIRST: 11}, {10: 100}, 50),
        ({FIRST: 9, OWN: 10}, {10: 0, 9: 50}, 50),
        ({FIRST: 10, OWN: 10}, {10: 0, 9: 100}, 50),
        ({FIRST: 10, OWN: 9}, {10: 0, 8: 100}, 50),
        ({OWN: 9}, {10: 50, 8: 100}, 50),
    ],
    ids=[
        "neither is mined",
        "the first is mined",
        "mined after the head was read",
        "the first mined after the head was read",
        "both mined, one after the other",
        "both mined in one block",
        "mined in the other order",
        "the first not mined",
    ],
)
async def test_an_earlier_sale_is_counted_once_wherever_both_are(
    mined: dict[str, int], held: dict[int, int], expected: int
) -> None:
    chain = FakeChain(
        head=10, held={block: shares(each) for block, each in held.items()}, mined=mined
    )

    assert await fetch_held(chain, [other_trade(1)]) == shares(expected)


@pytest.mark.parametrize(("confirmed_s", "expected"), [(9, 100), (11, 50)])
async def test_a_confirmed_sale_counts_unless_the_head_shows_it(
    confirmed_s: int, expected: int
) -> None:
    """The node lags behind the one that has shown its log."""
    mined = {FIRST: confirmed_s} if confirmed_s <= 10 else {}
    chain = FakeChain(head=10, held={10: shares(100)}, mined=mined)
    earlier = [other_trade(1, confirmed_s=confirmed_s)]

    assert await fetch_held(chain, earlier) == shares(expected)


async def test_an_earlier_buy_that_is_not_settled_is_added() -> None:
    chain = FakeChain(head=10, held={10: 0}, mined={})

    assert await fetch_held(chain, [other_trade(1, Side.BUY)]) == SOLD


@pytest.mark.parametrize("failed", [OWN, FIRST])
async def test_a_transaction_that_failed_has_changed_nothing(failed: str) -> None:
    chain = FakeChain(head=10, held={10: shares(100)}, mined={failed: 9}, failed=[failed])

    assert await fetch_held(chain, [other_trade(1)]) == shares(50)


async def test_before_a_block_whose_state_is_gone_he_held_what_is_left_and_what_he_sold() -> None:
    head = 10 + RECENT_BLOCKS
    chain = FakeChain(head=head, held={head: shares(100)}, mined={OWN: 9})

    assert await fetch_held(chain, []) == shares(150)


async def test_what_another_contract_says_that_he_sold_is_not_added() -> None:
    """A maker's wallet is a contract that is called in the settlement: it can emit any event."""
    head = 10 + RECENT_BLOCKS
    chain = FakeChain(head=head, held={head: shares(100)}, mined={OWN: 9})

    assert await ChainHoldings(chain, exchanges=()).fetch_held_before(SALE, []) == shares(100)


async def test_a_node_without_the_block_is_an_error_and_no_zero() -> None:
    chain = FakeChain(head=10, held={}, mined={})

    with pytest.raises(Transient):
        await fetch_held(chain, [])
