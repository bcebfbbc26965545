"""Builders of a market, orders, holdings and a matching engine; a test names only what matters."""

from itertools import count

from services.paper_venue.exchange.accounts import UNLIMITED, Holdings
from services.paper_venue.exchange.matching_engine import Accepted, MatchingEngine, Refused
from services.paper_venue.exchange.orders import PRICE_ONE, Market, Order, OrderKind, Side
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.orders import SignedOrder

SHARE = USDC = 1_000_000
YES = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
NO = "52114319501245915516055106046884209969926127482827954674443846427813813222426"
MARKET = Market(
    id="1",
    condition_id="0x" + "c0" * 32,
    question_id="0x" + "aa" * 32,
    token_ids=(YES, NO),
    slug="a-market",
    event_slug="an-event",
    question="Will it?",
)

_numbers = count(1)


def an_order(
    side: Side = Side.BUY,
    *,
    token: str = YES,
    price: int = 5_000,
    shares: int = 100 * SHARE,
    kind: OrderKind = OrderKind.GTC,
    maker: str = "0xA",
    market: Market = MARKET,
    amounts: tuple[int, int] | None = None,
    id: str = "",
    owner: str = "",
    expiration: int = 0,
) -> Order:
    """An order at a price in 1/10,000 USDC; ``amounts`` (maker, taker) replace price and shares."""
    collateral = shares * price // PRICE_ONE
    maker_amount, taker_amount = amounts or (
        (collateral, shares) if side is Side.BUY else (shares, collateral)
    )
    number = next(_numbers)
    return Order(
        id=id or f"0x{number:064x}",
        owner=owner or f"key-of-{maker}",
        maker=maker,
        market=market,
        token_id=token,
        side=side,
        kind=kind,
        maker_amount=maker_amount,
        taker_amount=taker_amount,
        placed_at_ms=1_790_000_000_000 + number,
        expiration=expiration,
        signed=SignedOrder(
            salt=number,
            maker=maker,
            signer=maker,
            token_id=int(token),
            maker_amount=maker_amount,
            taker_amount=taker_amount,
            side=side,
            signature_type=0,
            timestamp=0,
            metadata="0x" + "00" * 32,
            builder="0x" + "00" * 32,
            signature="0x",
        ),
    )


def a_spend(
    usdc: int,
    *,
    price: int = 5_000,
    token: str = YES,
    kind: OrderKind = OrderKind.FAK,
    maker: str = "0xA",
) -> Order:
    """A market BUY that spends ``usdc`` (micro-USDC) at most at this price."""
    return an_order(
        Side.BUY,
        token=token,
        kind=kind,
        maker=maker,
        amounts=(usdc, usdc * PRICE_ONE // price // 100 * 100),
    )


def rich(collateral: int = 10**12, shares: int = 10**12, *, allowance: int = UNLIMITED) -> Holdings:
    return Holdings(
        block=1,
        collateral=collateral,
        allowances=dict.fromkeys(LIVE_EXCHANGES, allowance),
        shares={YES: shares, NO: shares},
        approvals=frozenset(LIVE_EXCHANGES),
    )


def an_engine(*orders: Order) -> MatchingEngine:
    """An engine with funded wallets 0xA, 0xB and 0xC, and these orders in the book."""
    engine = MatchingEngine([MARKET])
    for wallet in ("0xA", "0xB", "0xC"):
        engine.accounts.refresh(wallet, rich())
    for order in orders:
        accepted(engine.place(order))
    return engine


def accepted(result: Accepted | Refused) -> Accepted:
    assert isinstance(result, Accepted), result.text
    return result


def refused(result: Accepted | Refused) -> Refused:
    assert isinstance(result, Refused)
    return result
