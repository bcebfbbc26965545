"""Who may take a wallet's money and shares? All seventeen pairs that a client asks for before it
calls a wallet ready to trade.
"""

from collections.abc import Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from services.paper_venue.http.payloads import Json
from shared.chain.addresses import COLLATERAL_SPENDERS, PUSD, SHARE_OPERATORS
from shared.chain.client import ChainClient
from shared.domain.errors import Transient

_ALLOWANCE = keccak(text="allowance(address,address)")[:4]
_IS_APPROVED = keccak(text="isApprovedForAll(address,address)")[:4]
_UNLIMITED = 2**256 - 1


class ApprovalReader:
    """Reads the chain as it is now: approvals have no indexing lag here."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client

    async def of(self, wallet: str) -> list[Json]:
        """Rows of token, spender, standard, approved and amount (decimal text, or "max"). Raises:
        Transient.
        """
        operators = [
            (token, operator)
            for token, operators in SHARE_OPERATORS.items()
            for operator in operators
        ]
        calls = [(PUSD, _call(_ALLOWANCE, wallet, spender)) for spender in COLLATERAL_SPENDERS]
        calls += [(token, _call(_IS_APPROVED, wallet, operator)) for token, operator in operators]
        _, answers = await self._client.fetch_snapshot(calls)
        if not all(answers):
            raise Transient("a token contract did not answer")
        return _rows(operators, [int.from_bytes(answer, "big") for answer in answers])


def _rows(operators: Sequence[tuple[str, str]], words: Sequence[int]) -> list[Json]:
    rows = [
        _row(
            PUSD,
            spender,
            "ERC20",
            approved=allowance > 0,
            amount="max" if allowance == _UNLIMITED else str(allowance),
        )
        for spender, allowance in zip(
            COLLATERAL_SPENDERS, words[: len(COLLATERAL_SPENDERS)], strict=True
        )
    ]
    return rows + [
        _row(token, operator, "ERC1155", approved=bool(word), amount=None)
        for (token, operator), word in zip(
            operators, words[len(COLLATERAL_SPENDERS) :], strict=True
        )
    ]


def _row(token: str, spender: str, standard: str, *, approved: bool, amount: str | None) -> Json:
    return {
        "token": token,
        "spender": spender,
        "standard": standard,
        "approved": approved,
        "amount": amount,
    }


def _call(selector: bytes, owner: str, other: str) -> bytes:
    return selector + encode(["address", "address"], [owner, other])
