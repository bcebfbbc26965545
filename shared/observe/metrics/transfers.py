"""Metrics of transfers between operator wallets and proxies."""

from shared.messages.transfers import TransferPurpose, TransferState
from shared.observe.instruments import Label, Subject, counter, gauge
from shared.observe.labels import NodeConcern, SignedAttempt, name_wallet

_OPERATOR = Label(name="operator", values="`wallet-` and the last 4 digits of its address")
_STATES = counter(
    "slipstream_transfers",
    "Transfers by the state that they reached",
    subject=Subject.TRANSFERS,
    labels=(
        Label(name="state", values=TransferState),
        Label(name="purpose", values=TransferPurpose),
    ),
)
_ATTEMPTS = counter(
    "slipstream_transfer_attempts",
    "Transactions of transfers that were signed",
    subject=Subject.TRANSFERS,
    labels=(Label(name="kind", values=SignedAttempt),),
)
_IN_FLIGHT = gauge(
    "slipstream_transfers_in_flight",
    "Transfers of an operator wallet with a nonce, and not closed",
    subject=Subject.TRANSFERS,
    labels=(_OPERATOR,),
)
_QUEUED = gauge(
    "slipstream_transfers_queued",
    "Transfers of an operator wallet that no transaction was signed of yet",
    subject=Subject.TRANSFERS,
    labels=(_OPERATOR,),
)
_OLDEST = gauge(
    "slipstream_transfer_oldest_seconds",
    "Age of an operator wallet's oldest request that is not closed",
    subject=Subject.TRANSFERS,
    labels=(_OPERATOR,),
    unit="seconds",
)
_HALTED = gauge(
    "slipstream_operator_wallet_halted",
    "1 where an operator wallet begins no transfers, until an operator resumes it; else 0",
    subject=Subject.TRANSFERS,
    labels=(_OPERATOR,),
)
_WITHOUT_KEY = gauge(
    "slipstream_operator_wallets_without_key",
    "Operator wallets with transfers that nobody looks after, because their key is not here",
    subject=Subject.TRANSFERS,
)
_GAS_BALANCE = gauge(
    "slipstream_operator_wallet_gas_gwei",
    "What an operator wallet has to pay gas with; 1,000,000,000 are a POL",
    subject=Subject.TRANSFERS,
    labels=(_OPERATOR,),
    unit="gwei",
)
_NEXT_NONCE = gauge(
    "slipstream_operator_wallet_next_nonce",
    "The nonce of an operator wallet's next transfer",
    subject=Subject.TRANSFERS,
    labels=(_OPERATOR,),
)
_CONCERNS = gauge(
    "slipstream_node_concerns",
    "What is wrong with the nodes that transfers are sent to, as of the last round",
    subject=Subject.TRANSFERS,
    labels=(Label(name="concern", values=NodeConcern),),
)
_FINALITY_LAG = gauge(
    "slipstream_finality_lag_seconds",
    "Age of the finalized block that the nodes agree on",
    subject=Subject.TRANSFERS,
    unit="seconds",
)


def transfer_state_reached(state: TransferState, purpose: TransferPurpose) -> None:
    """Count a transfer whose state changed."""
    _STATES.labels(state, purpose).inc()


def attempt_signed(kind: SignedAttempt) -> None:
    """Count a signed transaction."""
    _ATTEMPTS.labels(kind).inc()


def transfers_open(operator: str, *, in_flight: int, queued: int, oldest_s: int) -> None:
    """Set how many transfers of the operator wallet are not closed, and how old the oldest is."""
    _IN_FLIGHT.labels(name_wallet(operator)).set(in_flight)
    _QUEUED.labels(name_wallet(operator)).set(queued)
    _OLDEST.labels(name_wallet(operator)).set(oldest_s)


def wallet_halted(operator: str, *, is_halted: bool) -> None:
    """Set whether the operator wallet begins no transfers."""
    _HALTED.labels(name_wallet(operator)).set(is_halted)


def wallets_without_key(n: int) -> None:
    """Set how many operator wallets have transfers and no key."""
    _WITHOUT_KEY.labels().set(n)


def wallet_seen(operator: str, *, gas_gwei: int, next_nonce: int) -> None:
    """Set what the operator wallet has for gas, and its next nonce."""
    _GAS_BALANCE.labels(name_wallet(operator)).set(gas_gwei)
    _NEXT_NONCE.labels(name_wallet(operator)).set(next_nonce)


def wallet_left(operator: str) -> None:
    """Serve no figures of the operator wallet: another instance looks after it, or none does."""
    for figure in (_IN_FLIGHT, _QUEUED, _OLDEST, _HALTED, _GAS_BALANCE, _NEXT_NONCE):
        figure.remove(name_wallet(operator))


def node_concerns(concern: NodeConcern, n: int) -> None:
    """Set how many concerns of the kind there are."""
    _CONCERNS.labels(concern).set(n)


def finality_lag(seconds: int) -> None:
    """Set how old the finalized block is."""
    _FINALITY_LAG.labels().set(seconds)
