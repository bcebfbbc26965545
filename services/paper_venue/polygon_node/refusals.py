"""How the node refuses: the texts and codes of bor's JSON-RPC.

The texts are those of go-ethereum's core/txpool/errors.go, core/txpool/validation.go and
core/error.go as bor has them (0xPolygon/bor, read 2026-11); they say the numbers that they compare.
"""

from collections.abc import Mapping
from typing import Any

REFUSED = -32000
"""The code of every refusal of a transaction."""
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602
UPSTREAM_AWAY = -32603

ALREADY_KNOWN = "already known"
REPLACEMENT_UNDERPRICED = "replacement transaction underpriced"
POOL_FULL = "txpool is full"
EXCEEDS_BLOCK_GAS = "exceeds block gas limit"
TIP_ABOVE_MAX_FEE = "max priority fee per gas higher than max fee per gas"
BELOW_TIP_FLOOR = "transaction gas price below minimum: gas tip cap {tip}, minimum needed {floor}"
"""Of bor since it is based on go-ethereum 1.16."""
OLDER_BELOW_TIP_FLOOR = "transaction underpriced: gas tip cap {tip}, minimum needed {floor}"
"""Of bor before: nodes of both kinds answer."""
NONCE_TOO_LOW = "nonce too low: next nonce {next}, tx nonce {given}"
INTRINSIC_GAS = "intrinsic gas too low: gas {gas}, minimum needed {needed}"
FLOOR_DATA_GAS = "insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}"
INSUFFICIENT_FUNDS = "insufficient funds for gas * price + value: "
TX_COST = INSUFFICIENT_FUNDS + "balance {balance}, tx cost {cost}, overshot {overshot}"
QUEUED_COST = (
    INSUFFICIENT_FUNDS
    + "balance {balance}, queued cost {spent}, tx cost {cost}, overshot {overshot}"
)
BUMPED_COST = (
    INSUFFICIENT_FUNDS
    + "balance {balance}, queued cost {spent}, tx bumped {bump}, overshot {overshot}"
)
WRONG_CHAIN = "invalid sender: invalid chain id for signer: have {given} want {chain}"
UNPROTECTED = "only replay-protected (EIP-155) transactions allowed over RPC"
TYPE_NOT_SUPPORTED = "transaction type not supported"
INVALID_SIGNATURE = "invalid sender: invalid transaction v, r, s values"
NO_TRANSACTION = "rlp: cannot decode the transaction"
"""Ours: the text of go-ethereum's decoder depends on the byte at which it stops."""


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, text: str, code: int = REFUSED, *, data: object = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.data = data

    def build_error(self) -> Mapping[str, Any]:
        """The error object of a JSON-RPC answer."""
        error = {"code": self.code, "message": self.text}
        return error if self.data is None else error | {"data": self.data}
