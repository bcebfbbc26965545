"""Metrics of copies, leaders' trades, transactions and debts."""

from shared.messages.intents import (
    CopyCause,
    QuoteSource,
)
from shared.messages.orders import OrderState
from shared.messages.refusals import Refusal
from shared.messages.transactions import TransactionState
from shared.observe.instruments import (
    Label,
    Subject,
    counter,
    gauge,
    histogram,
)
from shared.observe.labels import (
    AmbiguousTrade,
    CarriedAmount,
    CopyStart,
    Delay,
    ExitEnd,
    OrderReply,
    SettledFills,
    Stage,
    Tip,
    order_reply,
)
from shared.polymarket.gates import Gate
from shared.polymarket.replies import Reply

STATES_AFTER_SIGNING = tuple(
    state for state in OrderState if state not in (OrderState.SIGNED, OrderState.WITHDRAWN)
)
"""The states that a recorded order can change to: it is recorded as signed or as withdrawn."""
PATH_SECONDS = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0,
)  # fmt: skip
"""Bucket bounds of a path that ends outside: a post takes milliseconds, a confirmation minutes."""
_QUOTES = counter(
    "slipstream_quotes",
    "Intents that got a quote, by its source",
    subject=Subject.COPIES,
    labels=(Label(name="source", values=QuoteSource),),
)
_REFUSALS = counter(
    "slipstream_refusals",
    "Copies that preflight refused, by the rule that refused",
    subject=Subject.COPIES,
    labels=(Label(name="reason", values=Refusal),),
)
_EXITS = counter(
    "slipstream_exits_ended",
    "Exits that ended; each that is unsold needs an operator",
    subject=Subject.COPIES,
    labels=(Label(name="end", values=ExitEnd),),
)
_DELAYED = counter(
    "slipstream_entries_delayed",
    "Times that an entry was delayed to be judged again, instead of being refused",
    subject=Subject.COPIES,
    labels=(Label(name="reason", values=Delay),),
)
_COPIES_BY_LEVEL = counter(
    "slipstream_copies_by_level",
    "Copies intended without a trade of the leader, by the cause",
    subject=Subject.COPIES,
    labels=(Label(name="cause", values=CopyCause),),
)
_LEVELS_LOWER = gauge(
    "slipstream_levels_lower",
    "Tokens of follows in which the leader holds less than his known trades explain",
    subject=Subject.COPIES,
)
_POSTED = counter(
    "slipstream_orders_posted",
    "Orders posted to the venue, by its reply",
    subject=Subject.COPIES,
    labels=(Label(name="reply", values=OrderReply),),
)
_GATES = gauge(
    "slipstream_venue_gates_closed",
    "Whether this instance knows that the venue takes no orders, and of how many wallets none",
    subject=Subject.COPIES,
    labels=(Label(name="gate", values=Gate),),
)
_UNKNOWN = gauge(
    "slipstream_orders_unknown",
    "Orders whose reply was lost and whose outcome is being looked up",
    subject=Subject.COPIES,
)
_ALERTED = gauge(
    "slipstream_orders_alerted",
    "Open orders not resolved in time, which an operator must check: anything but zero is an alarm",
    subject=Subject.COPIES,
)
_COPIES = counter(
    "slipstream_copies",
    "Copies by the state that their recorded order changed to",
    subject=Subject.COPIES,
    labels=(Label(name="state", values=STATES_AFTER_SIGNING),),
)
_STAGE = histogram(
    "slipstream_stage_seconds",
    "Time from the leader's fill being seen to the end of a stage of its copy",
    subject=Subject.COPIES,
    labels=(Label(name="stage", values=Stage),),
    bounds=PATH_SECONDS,
)
_AMBIGUOUS = counter(
    "slipstream_leader_trades_ambiguous",
    "Fills of leaders that may belong to a trade that is known already, by what was decided",
    subject=Subject.LEADER_TRADES,
    labels=(Label(name="decision", values=AmbiguousTrade),),
)
_COPIED_TRADES = counter(
    "slipstream_leader_trades_copied",
    "Slices of leaders' trades that were copied, by when their copies began",
    subject=Subject.LEADER_TRADES,
    labels=(Label(name="start", values=CopyStart),),
)
_CARRIED = counter(
    "slipstream_amounts_carried",
    "Amounts below the venue's minimum that a follow carried, by what became of them",
    subject=Subject.LEADER_TRADES,
    labels=(Label(name="result", values=CarriedAmount),),
)
_EQUITIES_UNKNOWN = gauge(
    "slipstream_equities_unknown",
    "Wallets whose equity a follow needs and was not read in time: its entries are refused",
    subject=Subject.LEADER_TRADES,
)
_UNSETTLED = gauge(
    "slipstream_leader_trades_unsettled",
    "Leaders' trades of the last hour, copied and in no block: anything but zero is an alarm",
    subject=Subject.LEADER_TRADES,
)
_TRANSACTIONS = counter(
    "slipstream_transactions",
    "Watched transactions on the chain, by the state that they changed to",
    subject=Subject.CHAIN,
    labels=(Label(name="state", values=TransactionState),),
)
_SETTLED_FILLS = counter(
    "slipstream_settled_fills",
    "Blocks with fills of a follower, once for each follower, by what became of them",
    subject=Subject.CHAIN,
    labels=(Label(name="result", values=SettledFills),),
)
_FILLS_BEHIND = gauge(
    "slipstream_settled_fills_blocks_behind",
    "How far the partition of followers that is read last is behind the chain, in blocks; below "
    "zero: the node is behind what was read",
    subject=Subject.CHAIN,
    labels=(Label(name="tip", values=Tip),),
    unit="blocks",
)
_DEBTS = gauge(
    "slipstream_debts_outstanding_micros",
    "Advances that were not reimbursed",
    subject=Subject.CHAIN,
    unit="micro-USDC",
)


def quoted(source: QuoteSource) -> None:
    """Count an intent that got a quote."""
    _QUOTES.labels(source).inc()


def copy_refused(reason: Refusal) -> None:
    """Count a copy that preflight refused."""
    _REFUSALS.labels(reason).inc()


def entry_delayed(reason: Delay) -> None:
    """Count an entry that waits to be judged again."""
    _DELAYED.labels(reason).inc()


def exit_ended(end: ExitEnd) -> None:
    """Count an exit that ended."""
    _EXITS.labels(end).inc()


def copy_by_level(cause: CopyCause) -> None:
    """Count a copy that was intended without a trade of the leader."""
    _COPIES_BY_LEVEL.labels(cause).inc()


def levels_lower(n: int) -> None:
    """Set in how many tokens of follows a leader holds less than expected."""
    _LEVELS_LOWER.labels().set(n)


def order_posted(reply: Reply) -> None:
    """Count a posted order by the venue's reply."""
    _POSTED.labels(order_reply(reply)).inc()


def gates_closed(gate: Gate, n: int) -> None:
    """Set how many gates of a kind are closed."""
    _GATES.labels(gate).set(n)


def orders_unknown(n: int) -> None:
    """Set how many orders have an unknown outcome after a lost reply."""
    _UNKNOWN.labels().set(n)


def orders_alerted(n: int) -> None:
    """Set how many open orders are past the time by which their outcome must be known."""
    _ALERTED.labels().set(n)


def copy_state_reached(state: OrderState) -> None:
    """Count a copy whose recorded order changed its state."""
    _COPIES.labels(state).inc()


def stage_reached(stage: Stage, seconds: float) -> None:
    """Record that a copy reached a stage's end ``seconds`` after the leader's fill was seen."""
    _STAGE.labels(stage).observe(seconds)


def trade_ambiguous(decision: AmbiguousTrade) -> None:
    """Count a leader's fill that may belong to a trade that is known already."""
    _AMBIGUOUS.labels(decision).inc()


def trade_copied(start: CopyStart) -> None:
    """Count a slice of a leader's trade that is copied."""
    _COPIED_TRADES.labels(start).inc()


def amount_carried(result: CarriedAmount) -> None:
    """Count an amount below the venue's minimum of one follow, at a slice of a leader's trade."""
    _CARRIED.labels(result).inc()


def equities_unknown(n: int) -> None:
    """Set how many wallets a follow needs the equity of, without one that was read in time."""
    _EQUITIES_UNKNOWN.labels().set(n)


def trades_unsettled(n: int) -> None:
    """Set how many copied trades, known from the activity socket alone, are in no block in time."""
    _UNSETTLED.labels().set(n)


def transaction_state_reached(state: TransactionState) -> None:
    """Count a watched transaction whose state changed."""
    _TRANSACTIONS.labels(state).inc()


def fills_settled(result: SettledFills) -> None:
    """Count a follower's fills of one final block."""
    _SETTLED_FILLS.labels(result).inc()


def fills_blocks_behind(tip: Tip, blocks: int) -> None:
    """Set how many blocks the followers' fills are behind the finalized block or the head."""
    _FILLS_BEHIND.labels(tip).set(blocks)


def debts_outstanding(micros: int) -> None:
    """Set the sum of all debts, in micro-USDC."""
    _DEBTS.labels().set(micros)
