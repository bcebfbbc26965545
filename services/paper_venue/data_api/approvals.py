"""Reads a wallet's approvals: the seventeen pairs of token and spender that a client checks before
it considers a wallet ready to trade.
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
    """Reads approvals from the chain itself: they have no indexing lag here."""

    def __init__(self, client: ChainClient) -> None:
        self._client = client

    async def fetch(self, wallet: str) -> list[Json]:
        """Rows of token, spender, standard, approved and amount (decimal text, or "max").

        Raises: Transient.
        """
        operators = [
            (token, operator)
            for token, operators in SHARE_OPERATORS.items()
            for operator in operators
        ]
        calls = [
            (PUSD, _build_call(_ALLOWANCE, wallet, spender)) for spender in COLLATERAL_SPENDERS
        ]
        calls += [
            (token, _build_call(_IS_APPROVED, wallet, operator)) for token, operator in operators
        ]
        _, answers = await self._client.fetch_snapshot(calls)
        if not all(answers):
            raise Transient("a token contract returned nothing")
        return _build_rows(operators, [int.from_bytes(answer, "big") for answer in answers])


def _build_rows(operators: Sequence[tuple[str, str]], words: Sequence[int]) -> list[Json]:
    rows = [
        _build_row(
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
        _build_row(token, operator, "ERC1155", approved=bool(word), amount=None)
        for (token, operator), word in zip(
            operators, words[len(COLLATERAL_SPENDERS) :], strict=True
        )
    ]


def _build_row(
    token: str, spender: str, standard: str, *, approved: bool, amount: str | None
) -> Json:
    return {
        "token": token,
        "spender": spender,
        "standard": standard,
        "approved": approved,
        "amount": amount,
    }


def _build_call(selector: bytes, owner: str, other: str) -> bytes:
    return selector + encode(["address", "address"], [owner, other])
