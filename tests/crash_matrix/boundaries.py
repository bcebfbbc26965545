"""At which places may a service die, and how is each of them found in its code?

A *point* is a coroutine (or function) of the service; its *boundaries* are the moments at it. Two
moments lie inside: ``uncommitted`` (the statements of its transaction ran, COMMIT did not) and
``sent`` (the bytes of its request, or of a statement that is a transaction by itself, have left,
and no answer came).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Moment(StrEnum):
    BEFORE = "before"
    UNCOMMITTED = "uncommitted"
    SENT = "sent"
    AFTER = "after"


BOTH = (Moment.BEFORE, Moment.AFTER)

DECODE = "shared.streams.codec:Decoder.decode"
PRODUCE = "shared.streams.producer:Producer.publish_all"
COMMIT = "aiokafka:AIOKafkaConsumer.commit"
POST = "shared.polymarket.clob:Clob._post"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """``about``: only calls that carry this message type or topic; empty: all. ``orders_by_then``:
    at the venue, of the armed follower.
    """

    service: str
    name: str
    where: str
    moments: tuple[Moment, ...] = BOTH
    about: str = ""
    by: Literal["leader", "follower", "anybody"] = "follower"
    needs_chain: bool = False
    """Not reached by a copy whose settlement fails."""
    needs_rest: bool = False
    """Passed only with what an exit has left over."""
    at_start: bool = False
    """Passed by a service that starts, when an order of the follower is open: one that died before
    has left it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    point: Point
    moment: Moment

    @property
    def name(self) -> str:
        return f"{self.point.service}: {self.moment} {self.point.name}"

    @property
    def orders_at_the_venue(self) -> int | None:
        """How many the armed follower has there when the service dies at this boundary; None: that
        is not fixed by it.
        """
        return (
            {Moment.BEFORE: 0, Moment.SENT: 1, Moment.AFTER: 1}.get(self.moment)
            if self.point.where == POST
            else None
        )


def _decodes(
    service: str,
    kind: str,
    *,
    by: Literal["leader", "follower"] = "follower",
    needs_chain: bool = False,
) -> Point:
    return Point(
        service=service,
        name=f"decode {kind}",
        where=DECODE,
        about=kind,
        by=by,
        needs_chain=needs_chain,
    )


def _produces(
    service: str,
    kind: str,
    *,
    by: Literal["leader", "follower"] = "follower",
    needs_chain: bool = False,
) -> Point:
    return Point(
        service=service,
        name=f"produce {kind}",
        where=PRODUCE,
        about=kind,
        by=by,
        needs_chain=needs_chain,
    )


def _commits(
    service: str,
    topic: str,
    *,
    by: Literal["leader", "follower"] = "follower",
    needs_chain: bool = False,
) -> Point:
    return Point(
        service=service,
        name=f"commit offset of {topic}",
        where=COMMIT,
        about=topic,
        by=by,
        needs_chain=needs_chain,
    )


def _writes(
    service: str,
    name: str,
    books: str,
    method: str,
    *,
    by: Literal["leader", "follower"] = "follower",
    needs_chain: bool = False,
) -> Point:
    return Point(
        service=service, name=name, where=f"{books}.{method}", by=by, needs_chain=needs_chain
    )


def _transaction(
    service: str,
    name: str,
    books: str,
    method: str,
    *,
    by: Literal["leader", "follower"] = "follower",
    needs_chain: bool = False,
) -> Point:
    return Point(
        service=service,
        name=name,
        where=f"{books}.{method}",
        by=by,
        needs_chain=needs_chain,
        moments=(Moment.UNCOMMITTED,),
    )


def _statement(service: str, name: str, books: str, method: str) -> Point:
    return Point(service=service, name=name, where=f"{books}.{method}", moments=(Moment.SENT,))


_TRADES = "services.ingest.adapters:PostgresTrades"
_VERDICTS = "services.preflight.adapters.verdicts:PostgresVerdicts"
_ORDERS = "services.executor.adapters.orders:PostgresOrders"
_WATCHES = "services.tx_monitor.adapters:PostgresWatches"
_DEBTS = "services.debt_recovery.adapters:PostgresDebts"
_LEASES = "shared.db.leases:Leases"
_LOOK = "services.executor.adapters.startup_check:StartupCheck._look_at_one"

POINTS = (
    _produces("ingest", "LeaderFillSeen", by="leader"),
    Point(
        service="ingest",
        name="move the chain cursor",
        where="services.ingest.adapters:Cursor.save",
        by="anybody",
    ),
    _decodes("ingest", "LeaderFillSeen", by="leader"),
    _writes("ingest", "record the trade", _TRADES, "record", by="leader"),
    _transaction("ingest", "record the trade", _TRADES, "_record_all", by="leader"),
    _produces("ingest", "CopyIntended"),
    _commits("ingest", "leader-fills", by="leader"),
    _decodes("pricer", "CopyIntended"),
    _produces("pricer", "IntentQuoted"),
    _commits("pricer", "copy-intents"),
    _decodes("preflight", "IntentQuoted"),
    _writes("preflight", "record the verdict", _VERDICTS, "record"),
    _transaction("preflight", "record the verdict", _VERDICTS, "_record_all"),
    _produces("preflight", "IntentApproved"),
    _commits("preflight", "quoted-intents"),
    _writes("preflight", "settle the reservation", _VERDICTS, "settle"),
    _commits("preflight", "copy-outcomes"),
    _decodes("executor", "IntentApproved"),
    Point(
        service="executor", name="sign", where="services.executor.adapters.signers:SdkSigners.sign"
    ),
    _writes("executor", "record the order", _ORDERS, "record"),
    _statement("executor", "record the order", _ORDERS, "_record_all"),
    Point(
        service="executor",
        name="post",
        where=POST,
        moments=(Moment.BEFORE, Moment.SENT, Moment.AFTER),
    ),
    _writes("executor", "save the outcome", _ORDERS, "save"),
    _statement("executor", "save the outcome", _ORDERS, "_save_all"),
    _produces("executor", "OrderReported"),
    _commits("executor", "approved-intents"),
    _produces("executor", "TradeReported"),
    _decodes("executor", "TradeReported"),
    _writes("executor", "book the trade", _ORDERS, "record_trade"),
    _statement("executor", "book the trade", _ORDERS, "_book_all"),
    _produces("executor", "ConfirmationRequested", needs_chain=True),
    _commits("executor", "venue-reports"),
    _decodes("executor", "TransactionResolved", needs_chain=True),
    _writes("executor", "settle by the chain", _ORDERS, "resolve", needs_chain=True),
    _transaction("executor", "settle by the chain", _ORDERS, "_resolve_all", needs_chain=True),
    _commits("executor", "chain-results", needs_chain=True),
    Point(
        service="executor",
        name="produce CopyIntended",
        where=PRODUCE,
        about="CopyIntended",
        needs_rest=True,
    ),
    Point(service="executor", name="take the lease", where=f"{_LEASES}._take", at_start=True),
    Point(service="executor", name="renew the lease", where=f"{_LEASES}._renew"),
    Point(service="executor", name="look at open orders", where=_LOOK, at_start=True),
    _decodes("tx-monitor", "ConfirmationRequested"),
    _writes("tx-monitor", "open the watch", _WATCHES, "record"),
    _commits("tx-monitor", "chain-requests"),
    _produces("tx-monitor", "ReceiptSeen"),
    _decodes("tx-monitor", "ReceiptSeen"),
    _writes("tx-monitor", "save the watch", _WATCHES, "save"),
    _produces("tx-monitor", "TransactionResolved"),
    _commits("tx-monitor", "chain-reports"),
    _decodes("debt-recovery", "DebtRaised"),
    _writes("debt-recovery", "record the debt", _DEBTS, "record"),
    _commits("debt-recovery", "debts"),
)


def _boundaries() -> Iterator[Boundary]:
    for point in POINTS:
        for moment in point.moments:
            yield Boundary(point=point, moment=moment)


BOUNDARIES = {boundary.name: boundary for boundary in _boundaries()}
LEAVES_AN_ORDER_OPEN = BOUNDARIES["executor: sent post"]
