"""The texts of the known nodes, as they are in their sources and as providers pass them on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chain.answers import NodeRefused
from shared.chain.send_answers import SendAnswer, classify_refusal

GETH = [
    ("already known", SendAnswer.KNOWN),
    ("known transaction: 5c50", SendAnswer.KNOWN),
    ("nonce too low", SendAnswer.NONCE_TOO_LOW),
    ("nonce too low: next nonce 82, tx nonce 81", SendAnswer.NONCE_TOO_LOW),
    (
        "nonce too low: address 0xA1, tx: 81 state: 82",
        SendAnswer.NONCE_TOO_LOW,
    ),
    ("replacement transaction underpriced", SendAnswer.UNDERPRICED),
    (
        "replacement transaction underpriced: new tx gas fee cap 100 < 99 queued + 10% replacement",
        SendAnswer.UNDERPRICED,
    ),
    ("transaction underpriced", SendAnswer.TIP_TOO_LOW),
    (
        "transaction underpriced: gas tip cap 1000000000, minimum needed 25000000000",
        SendAnswer.TIP_TOO_LOW,
    ),
    (
        "transaction gas price below minimum: gas tip cap 1, minimum needed 25000000000",
        SendAnswer.TIP_TOO_LOW,
    ),
    (
        "max fee per gas less than block base fee: address 0xA1, maxFeePerGas: 1, baseFee: 2",
        SendAnswer.BELOW_BASE_FEE,
    ),
    ("fee cap less than block base fee: address 0xA1", SendAnswer.BELOW_BASE_FEE),
    ("insufficient funds for gas * price + value", SendAnswer.NO_GAS_MONEY),
    (
        "insufficient funds for gas * price + value: balance 5, tx cost 9, overshot 4",
        SendAnswer.NO_GAS_MONEY,
    ),
    (
        "insufficient funds for gas * price + value: balance 5, queued cost 3, tx cost 9",
        SendAnswer.NO_GAS_MONEY,
    ),
    ("insufficient funds for transfer", SendAnswer.NO_GAS_MONEY),
    ("txpool is full", SendAnswer.POOL_FULL),
    ("account limit exceeded: pooled 16 txs", SendAnswer.POOL_FULL),
    ("in-flight transaction limit reached for delegated accounts", SendAnswer.POOL_FULL),
    ("intrinsic gas too low", SendAnswer.INVALID),
    ("intrinsic gas too low: gas 20000, minimum needed 21000", SendAnswer.INVALID),
    (
        "insufficient gas for floor data gas cost: gas 1, minimum needed 21000",
        SendAnswer.INVALID,
    ),
    ("exceeds block gas limit", SendAnswer.INVALID),
    ("transaction gas limit too high (cap: 33554432, tx: 40000000)", SendAnswer.INVALID),
    ("gas uint64 overflow", SendAnswer.INVALID),
    ("invalid chain id for signer: have 1 want 137", SendAnswer.INVALID),
    ("invalid sender", SendAnswer.INVALID),
    ("invalid sender: invalid transaction v, r, s values", SendAnswer.INVALID),
    ("transaction type not supported", SendAnswer.INVALID),
    (
        "max priority fee per gas higher than max fee per gas: address 0xA1",
        SendAnswer.INVALID,
    ),
    ("max fee per gas higher than 2^256-1", SendAnswer.INVALID),
    ("tx fee (2.10 ether) exceeds the configured cap (1.00 ether)", SendAnswer.INVALID),
    ("oversized data: transaction size 131073, limit 131072", SendAnswer.INVALID),
    ("negative value", SendAnswer.INVALID),
    ("sender not an eoa: address 0xA1, codehash: 0x5", SendAnswer.INVALID),
    ("nonce has max value: address 0xA1", SendAnswer.INVALID),
    ("rlp: element is larger than containing list", SendAnswer.INVALID),
    ("typed transaction too short", SendAnswer.INVALID),
    (
        "only replay-protected (EIP-155) transactions allowed over RPC",
        SendAnswer.INVALID,
    ),
    ("future transaction tries to replace pending", SendAnswer.UNCLEAR),
    ("nonce too high", SendAnswer.UNCLEAR),
]
"""Bor's pool is geth's."""
ERIGON = [
    ("already known", SendAnswer.KNOWN),
    ("mined", SendAnswer.KNOWN),
    ("existing tx with same hash", SendAnswer.KNOWN),
    ("existing txn with same hash", SendAnswer.KNOWN),
    ("nonce too low", SendAnswer.NONCE_TOO_LOW),
    ("replacement transaction underpriced", SendAnswer.UNDERPRICED),
    ("could not replace existing tx", SendAnswer.UNDERPRICED),
    ("underpriced", SendAnswer.TIP_TOO_LOW),
    ("fee too low", SendAnswer.TIP_TOO_LOW),
    ("insufficient funds", SendAnswer.NO_GAS_MONEY),
    ("pending sub-pool is full", SendAnswer.POOL_FULL),
    ("baseFee sub-pool is full", SendAnswer.POOL_FULL),
    ("queued sub-pool is full", SendAnswer.POOL_FULL),
    ("IntrinsicGas", SendAnswer.INVALID),
    ("GasUintOverflow", SendAnswer.INVALID),
    ("RLPTooLong", SendAnswer.INVALID),
    ("gas limit too high. Max: 30000000", SendAnswer.INVALID),
    ("invalid sender", SendAnswer.INVALID),
    ("oversized data", SendAnswer.INVALID),
    ("unsupported transaction type", SendAnswer.INVALID),
    ("fork supporting this transaction type is not activated yet", SendAnswer.INVALID),
    ("spammer", SendAnswer.UNCLEAR),
    ("replaced by transaction with higher tip", SendAnswer.UNCLEAR),
]
ANVIL = [
    ("transaction already imported", SendAnswer.KNOWN),
    ("nonce too low", SendAnswer.NONCE_TOO_LOW),
    ("replacement transaction underpriced", SendAnswer.UNDERPRICED),
    ("max fee per gas less than block base fee", SendAnswer.BELOW_BASE_FEE),
    ("Insufficient funds for gas * price + value", SendAnswer.NO_GAS_MONEY),
    ("intrinsic gas too low", SendAnswer.INVALID),
    ("intrinsic gas too high -- tx.gas_limit > env.block.gas_limit", SendAnswer.INVALID),
    ("invalid chain id for signer", SendAnswer.INVALID),
    ("Failed to decode transaction", SendAnswer.INVALID),
]
OTHERS = [
    ("Internal error", SendAnswer.UNCLEAR),
    ("", SendAnswer.UNCLEAR),
    ("the method eth_sendRawTransaction does not exist/is not available", SendAnswer.UNCLEAR),
    ("request timed out", SendAnswer.UNCLEAR),
    ("execution aborted (timeout = 5s)", SendAnswer.UNCLEAR),
    ("too many requests: invalid sender", SendAnswer.UNCLEAR),
]


def name_codes(texts: list[tuple[str, SendAnswer]], code: int) -> list[tuple[int, str, SendAnswer]]:
    return [(code, text, answer) for text, answer in texts]


@pytest.mark.parametrize(
    ("code", "text", "answer"),
    [
        *name_codes(GETH, -32000),
        *name_codes(ERIGON, -32000),
        *name_codes(ANVIL, -32003),
        *name_codes(OTHERS, -32603),
    ],
)
def test_a_refusal_means_what_its_node_means_by_it(
    code: int, text: str, answer: SendAnswer
) -> None:
    """Invariant I6."""
    assert classify_refusal(NodeRefused("eth_sendRawTransaction", code, text)) is answer
    shouted = NodeRefused("eth_sendRawTransaction", 0, text.upper())
    assert classify_refusal(shouted) is answer


@pytest.mark.parametrize("code", [401, 403, 429, 503])
def test_a_refusal_of_access_says_nothing_about_the_transaction(code: int) -> None:
    refusal = NodeRefused("eth_sendRawTransaction", code, "invalid sender")

    assert classify_refusal(refusal) is SendAnswer.UNCLEAR


@given(code=st.integers(-40_000, 600), text=st.text(max_size=200))
def test_no_text_is_taken_for_an_acceptance(code: int, text: str) -> None:
    """Invariant I6."""
    refusal = NodeRefused("eth_sendRawTransaction", code, text)

    assert classify_refusal(refusal) is not SendAnswer.ACCEPTED
