"""The places at which the matrix makes a service die, and where each is in the service's code.

A *point* is a coroutine or function of the service; its *boundaries* are the moments at it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Moment(StrEnum):
    BEFORE = "before"
    UNCOMMITTED = "uncommitted"
    """Within the call: the statements of its transaction ran, COMMIT did not."""
    SENT = "sent"
    """Within the call: the bytes of its request, or of a statement that is a transaction by itself,
    were sent, and no answer came."""
    AFTER = "after"


BEFORE_AND_AFTER = (Moment.BEFORE, Moment.AFTER)
STATEMENT = (Moment.BEFORE, Moment.SENT, Moment.AFTER)
"""Of a function that executes one statement."""

DECODE = "shared.streams.codec:Decoder.decode"
PRODUCE = "shared.streams.producer:Producer.publish_batch"
COMMIT = "aiokafka:AIOKafkaConsumer.commit"
POST = "shared.polymarket.clob_requests:ClobRequests.post_order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A function of a service, wrapped so that the process can die at it."""

    service: str
    name: str
    where: str
    """``module:Class.function``."""
    moments: tuple[Moment, ...] = BEFORE_AND_AFTER
    subject: str = ""
    """Only calls with a message of this type or a record of this topic count; empty: all."""
    by: Literal["leader", "follower", "anybody"] = "follower"
    """Only calls with a message of the armed leader or follower count; anybody: all."""
    needs_settlement: bool = False
    """Not reached by a copy whose settlement fails."""
    needs_remainder: bool = False
    """Reached only with the remainder of an exit."""
    needs_matched_reply: bool = False
    """Reached only where the venue's reply says that the order was matched."""
    at_start: bool = False
    """Reached by a starting service for an open order that an earlier process has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    point: Point
    moment: Moment

    @property
    def name(self) -> str:
        return f"{self.point.service}: {self.moment} {self.point.name}"

    @property
    def orders_at_venue(self) -> int | None:
        """How many more the armed follower has there once the service died at this boundary; None:
        the boundary does not determine it.
        """
        if self.point.where != POST:
            return None
        return {Moment.BEFORE: 0, Moment.SENT: 1, Moment.AFTER: 1}.get(self.moment)


Key = Literal["leader", "follower"]


def _decodes(
    service: str, message_type: str, *, by: Key = "follower", needs_settlement: bool = False
) -> Point:
    return Point(
        service=service,
        name=f"decode {message_type}",
        where=DECODE,
        subject=message_type,
        by=by,
        needs_settlement=needs_settlement,
    )


def _produces(
    service: str,
    message_type: str,
    *,
    by: Key = "follower",
    needs_settlement: bool = False,
    needs_remainder: bool = False,
) -> Point:
    return Point(
        service=service,
        name=f"produce {message_type}",
        where=PRODUCE,
        subject=message_type,
        by=by,
        needs_settlement=needs_settlement,
        needs_remainder=needs_remainder,
    )


def _commits(
    service: str, topic: str, *, by: Key = "follower", needs_settlement: bool = False
) -> Point:
    return Point(
        service=service,
        name=f"commit offset of {topic}",
        where=COMMIT,
        subject=topic,
        by=by,
        needs_settlement=needs_settlement,
    )


def _writes(
    service: str,
    name: str,
    store: str,
    method: str,
    *,
    moments: tuple[Moment, ...] = BEFORE_AND_AFTER,
    by: Key = "follower",
    needs_settlement: bool = False,
) -> Point:
    return Point(
        service=service,
        name=name,
        where=f"{store}.{method}",
        moments=moments,
        by=by,
        needs_settlement=needs_settlement,
    )


def _transaction(
    service: str,
    name: str,
    store: str,
    method: str,
    *,
    by: Key = "follower",
    needs_settlement: bool = False,
) -> Point:
    return _writes(
        service,
        name,
        store,
        method,
        moments=(Moment.UNCOMMITTED,),
        by=by,
        needs_settlement=needs_settlement,
    )


_TRADES = "services.ingest.adapters:PostgresTrades"
_VERDICTS = "services.preflight.adapters.verdicts:PostgresVerdicts"
_ORDERS = "services.executor.adapters.orders:PostgresOrders"
_WATCHES = "services.tx_monitor.adapters:PostgresWatches"
_DEBTS = "services.debt_recovery.adapters:PostgresDebts"
_LEASES = "shared.db.leases:Leases"
_CHECK_PROXY = "services.executor.adapters.startup_check:StartupCheck._check_proxy"

POINTS = (
    _produces("ingest", "LeaderFillSeen", by="leader"),
    Point(
        service="ingest",
        name="move the chain cursor",
        where="services.ingest.adapters:PostgresPartitionCursors.save",
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
    _writes("preflight", "record the verdict", _VERDICTS, "_record_group", moments=STATEMENT),
    _produces("preflight", "IntentApproved"),
    _commits("preflight", "quoted-intents"),
    _writes("preflight", "settle the reservation", _VERDICTS, "settle"),
    _commits("preflight", "copy-outcomes"),
    _decodes("executor", "IntentApproved"),
    Point(
        service="executor",
        name="sign",
        where="services.executor.adapters.signers:SdkSigners.sign_at_once",
    ),
    _writes("executor", "record the order", _ORDERS, "_record_all", moments=STATEMENT),
    Point(
        service="executor",
        name="post",
        where=POST,
        moments=(Moment.BEFORE, Moment.SENT, Moment.AFTER),
    ),
    Point(
        service="executor",
        name="have the match saved later",
        where=f"{_ORDERS}.save_later",
        needs_matched_reply=True,
    ),
    _writes("executor", "save the outcome", _ORDERS, "_save_all", moments=STATEMENT),
    _produces("executor", "OrderReported"),
    _commits("executor", "approved-intents"),
    _produces("executor", "TradeReported"),
    _decodes("executor", "TradeReported"),
    _writes("executor", "record the trade", _ORDERS, "_settle_all", moments=STATEMENT),
    _produces("executor", "ConfirmationRequested", needs_settlement=True),
    _commits("executor", "venue-reports"),
    _decodes("executor", "FillsSettled", needs_settlement=True),
    _decodes("executor", "TransactionResolved", needs_settlement=True),
    _writes(
        "executor", "record the settlement", _ORDERS, "record_settlement", needs_settlement=True
    ),
    _transaction(
        "executor",
        "record the settlement",
        _ORDERS,
        "_record_all_settlements",
        needs_settlement=True,
    ),
    _commits("executor", "chain-results", needs_settlement=True),
    _produces("preflight", "CopyIntended", needs_remainder=True),
    Point(service="executor", name="take the lease", where=f"{_LEASES}._acquire", at_start=True),
    Point(service="executor", name="renew the lease", where=f"{_LEASES}._renew"),
    Point(service="executor", name="check open orders", where=_CHECK_PROXY, at_start=True),
    _decodes("tx-monitor", "ConfirmationRequested"),
    _writes("tx-monitor", "open the watch", _WATCHES, "record"),
    _commits("tx-monitor", "chain-requests"),
    _produces("tx-monitor", "ReceiptSeen"),
    _decodes("tx-monitor", "ReceiptSeen"),
    _writes("tx-monitor", "save the watch", _WATCHES, "save"),
    _produces("tx-monitor", "TransactionResolved"),
    _commits("tx-monitor", "chain-reports"),
    _produces("tx-monitor", "FillsSettled", needs_settlement=True),
    Point(
        service="tx-monitor",
        name="move the cursor of settled fills",
        where="services.tx_monitor.adapters:PostgresFillCursors.save",
        by="anybody",
    ),
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
