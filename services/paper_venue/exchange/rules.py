"""The rules that an order must meet, and the venue's own texts when it does not.

Texts are those of the CLOB documentation and of client issues, 2026.
"""

from services.paper_venue.exchange.formatting import amount_text, price_text
from services.paper_venue.exchange.orders import PRICE_ONE, Order, OrderKind, Side
from shared.chain.orders import DEPOSIT_WALLET, EOA, SignedOrder

FOK_KILLED = "order couldn't be fully filled. FOK orders are fully filled or killed."
FAK_KILLED = (
    "no orders found to match with FAK order. "
    "FAK orders are partially filled or killed if no match is found."
)
NOT_ENOUGH = "not enough balance / allowance"
POST_ONLY_CROSSES = "invalid post-only order: order crosses book"
POST_ONLY_KIND = "invalid post-only order: only GTC and GTD orders can be post-only"
"""The refusal is documented (docs.polymarket.com, 2026); the text is ours."""
DELAYED_STAYS = "the order is delayed and cannot be canceled"
"""The refusal is documented; the text is ours."""
INVALID_EXPIRATION = "invalid expiration"
NO_BOOK = "No orderbook exists for the requested token id"
INVALID_PAYLOAD = "Invalid order payload"
INVALID_TOKEN = "Invalid token id"  # noqa: S105
INVALID_VERSION = "invalid order version, please use the latest clob-client"
WRONG_OWNER = "the order owner has to be the owner of the API KEY"
WRONG_SIGNER = "the order signer address has to be the address of the API KEY"
INVALID_SIGNATURE = "invalid signature"
NO_MARKET = "market not found"
MAKER_NOT_ALLOWED = "maker address not allowed, please use the deposit wallet flow"
VERSION_MISMATCH = "order_version_mismatch"
"""Signed for another exchange than the market's; py-clob-client-v2 reads ``/version`` again when it
gets this text."""

# Texts that depend on the venue's operator or state: only faults cause them.
CLOSED_ONLY = "address in closed only mode"
TIMED_OUT = "order timed out"
NO_MATCHING_ORDERS = "there are no matching orders"
ROUNDING = "the trade contains rounding issues"
DISCREPANCY = (
    "the price of the taker's order has a discrepancy greater than allowed "
    "with the worst maker order"
)
TOO_MANY_REQUESTS = "Too Many Requests"
TRADING_DISABLED = "Trading is currently disabled. Check polymarket.com for updates"
CANCEL_ONLY = (
    "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed."
)
POST_ONLY_MODE = "post-only mode: only post-only orders and cancels are allowed"

_SERVER_ERRORS = (TIMED_OUT, NO_MATCHING_ORDERS, ROUNDING, DISCREPANCY)


def http_status_for(text: str) -> int:
    """The HTTP status of the reply that carries this refusal text."""
    return 500 if text in _SERVER_ERRORS else 400


def too_many_orders(count: int, maximum: int) -> str:
    return f"Too many orders in payload: {count}, max allowed: {maximum}"


MIN_LIFETIME_MS = 60_000
"""The shortest time from placement to expiration of a GTD order."""


def duplicated(order_id: str) -> str:
    return f"order {order_id} is invalid. Duplicated."


def closed(token_id: str) -> str:
    """The refusal of an order for a resolved market (bots' logs, 2026-02)."""
    return f"the orderbook {token_id} does not exist"


def order_refusal(order: Order, *, post_only: bool = False) -> str | None:
    """Why the order is invalid, regardless of book and balances; None: it is valid."""
    if order.maker_amount <= 0 or order.taker_amount <= 0:
        return INVALID_PAYLOAD
    if post_only and not order.kind.may_rest:
        return POST_ONLY_KIND
    return (
        _expiration_refusal(order)
        or _amounts_refusal(order)
        or _price_refusal(order)
        or _size_refusal(order)
    )


def maker_refusal(signed: SignedOrder, *, owner: str | None, address: str) -> str | None:
    """Why the API key of ``address`` cannot trade for the order's maker with this signature type;
    None: it can.

    ``owner`` is the address that may sign for the maker if that is a contract wallet.
    """
    if signed.signature_type == EOA:
        return None if signed.maker == signed.signer else MAKER_NOT_ALLOWED
    if owner is None:
        return MAKER_NOT_ALLOWED
    return (
        WRONG_SIGNER
        if signed.signature_type == DEPOSIT_WALLET and owner.lower() != address.lower()
        else None
    )


def marketable_refusal(order: Order) -> str | None:
    """Why an order that trades immediately is too small; None: it is not."""
    if order.side is Side.BUY and order.maker_amount < order.market.min_marketable:
        amount = amount_text(order.maker_amount)
        return f"invalid amount for a marketable BUY order (${amount}), min size: $1"
    return None


def _expiration_refusal(order: Order) -> str | None:
    if order.kind is not OrderKind.GTD:
        return None if order.expiration == 0 else INVALID_EXPIRATION
    return (
        None
        if order.expiration * 1000 >= order.placed_at_ms + MIN_LIFETIME_MS
        else INVALID_EXPIRATION
    )


def _size_refusal(order: Order) -> str | None:
    minimum = order.market.min_shares
    if order.kind.may_rest and order.shares < minimum:
        return (
            f"order {order.id} is invalid. Size ({amount_text(order.shares)}) "
            f"lower than the minimum: {amount_text(minimum)}"
        )
    return None


def _price_refusal(order: Order) -> str | None:
    """A limit order's price must be a multiple of the tick exactly, a market order's amounts what
    such a price gives before they are cut: a dollar at 0.76 buys 1.3157 shares.
    """
    tick = order.market.tick
    if order.kind.may_rest:
        on_grid = (
            order.price % tick == 0
            and tick <= order.price <= PRICE_ONE - tick
            and order.collateral * PRICE_ONE == order.price * order.shares
        )
    else:
        on_grid = _is_cut_from_grid(order)
    if on_grid:
        return None
    return (
        f"order {order.id} is invalid. Price ({price_text(order.price)}) "
        f"breaks minimum tick size rule: {price_text(tick)}"
    )


def _is_cut_from_grid(order: Order) -> bool:
    """Whether the taker amount is less than a unit away from what a price on the grid gives. The
    unit is that of the accuracy, or of four decimals, to which clients may cut.
    """
    tick = order.market.tick
    price = (2 * order.price + tick) // (2 * tick) * tick
    if not tick <= price <= PRICE_ONE - tick:
        return False
    unit: int = 10 ** (6 - min(4, _tick_decimals(tick) + 2))
    buys = order.side is Side.BUY
    numerator, denominator = (PRICE_ONE, price) if buys else (price, PRICE_ONE)
    return (
        abs(order.maker_amount * numerator - order.taker_amount * denominator) < unit * denominator
    )


def _amounts_refusal(order: Order) -> str | None:
    """The venue keeps 2 decimals of a limit order's shares, and of its USDC 2 more than the tick
    has; of market orders 2 of the maker amount and the finer ones of the taker amount.
    """
    side = "buy" if order.side is Side.BUY else "sell"
    fine = _tick_decimals(order.market.tick) + 2
    if order.kind.may_rest:
        maker, taker, name = (fine, 2, side) if order.side is Side.BUY else (2, fine, side)
    else:
        maker, taker, name = 2, fine, f"market {side}"
    if order.maker_amount % 10 ** (6 - maker) == 0 and order.taker_amount % 10 ** (6 - taker) == 0:
        return None
    return (
        f"invalid amounts, the {name} orders maker amount supports a max accuracy of "
        f"{maker} decimals, taker amount a max of {taker} decimals"
    )


def _tick_decimals(tick: int) -> int:
    return next(places for places in range(1, 5) if tick % 10 ** (4 - places) == 0)
