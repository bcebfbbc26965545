"""The view calls that read a wallet's balances and approvals, and their answers. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from shared.chain.addresses import CONDITIONAL_TOKENS, POSITION_MANAGER, PUSD, positions_contract
from shared.chain.answers import decode_abi, parse_data
from shared.chain.snapshots import WORD, ViewCall, address_word
from shared.domain.errors import Transient

# Of the 49,152 bytes of a snapshot (EIP-3860) a call takes 224 to 256, a token id 64.
MAX_CALLS_PER_SNAPSHOT = 100
MAX_TOKENS_PER_CALL = 300
MAX_BALANCE = 10**18
"""Base units: more than anybody has. A larger one is no balance."""
_BALANCE_OF = keccak(text="balanceOf(address)")[:4]
_ALLOWANCE = keccak(text="allowance(address,address)")[:4]
_BALANCE_OF_TOKEN = keccak(text="balanceOf(address,uint256)")[:4]
_BALANCE_OF_BATCH = keccak(text="balanceOfBatch(address[],uint256[])")[:4]
_IS_APPROVED = keccak(text="isApprovedForAll(address,address)")[:4]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletBalances:
    """What a wallet holds and has allowed, all read at the same block."""

    wallet: str
    block_number: int
    collateral: int
    """micro-pUSD."""
    allowance_by_spender: dict[str, int]
    """micro-pUSD that a spender may take; 2**256 - 1 is unlimited."""
    shares_by_token: dict[int, int]
    """Micro-shares per requested token id."""
    conditional_tokens_approved: frozenset[str]
    """Spenders that may move the wallet's ConditionalTokens (V2 markets)."""
    position_manager_approved: frozenset[str]
    """Spenders that may move the wallet's PositionManager positions (V3 markets)."""


class WalletQuery:
    """The calls that read one wallet, and the parser of their answers."""

    def __init__(self, spenders: tuple[str, ...], wallet: str, token_ids: tuple[int, ...]) -> None:
        if len(token_ids) > MAX_TOKENS_PER_CALL:
            raise ValueError(
                f"at most {MAX_TOKENS_PER_CALL} token ids per read, got {len(token_ids)}"
            )
        self._spenders, self._wallet, self.token_count = spenders, wallet, len(token_ids)
        self._tokens_by_contract: dict[str, list[int]] = {}
        for token in token_ids:
            self._tokens_by_contract.setdefault(positions_contract(token), []).append(token)
        self.call_count = 1 + 3 * len(spenders) + len(self._tokens_by_contract)

    def build_calls(self) -> list[ViewCall]:
        owner = encode(["address"], [self._wallet])
        calls = [(PUSD, _BALANCE_OF + owner)]
        for spender in self._spenders:
            pair = owner + address_word(spender)
            calls += [
                (PUSD, _ALLOWANCE + pair),
                (CONDITIONAL_TOKENS, _IS_APPROVED + pair),
                (POSITION_MANAGER, _IS_APPROVED + pair),
            ]
        for contract, tokens in self._tokens_by_contract.items():
            owners = [self._wallet] * len(tokens)
            arguments = encode(["address[]", "uint256[]"], [owners, tokens])
            calls.append((contract, _BALANCE_OF_BATCH + arguments))
        return calls

    def parse(self, block_number: int, answers: Sequence[bytes]) -> WalletBalances:
        """Parse the answers to ``build_calls``, in its order. Raises: Transient."""
        per_spender = list(
            zip(
                self._spenders,
                zip(*[iter(answers[1 : 1 + 3 * len(self._spenders)])] * 3, strict=True),
                strict=True,
            )
        )
        shares: dict[int, int] = {}
        for tokens, answer in zip(
            self._tokens_by_contract.values(), answers[1 + 3 * len(self._spenders) :], strict=True
        ):
            shares.update(zip(tokens, _parse_balances(answer, len(tokens)), strict=True))
        return WalletBalances(
            wallet=self._wallet,
            block_number=block_number,
            collateral=_parse_amount(answers[0], "the pUSD balance"),
            allowance_by_spender={
                spender: _parse_number(allowance, "a pUSD allowance")
                for spender, (allowance, _, _) in per_spender
            },
            shares_by_token=shares,
            conditional_tokens_approved=frozenset(
                spender for spender, (_, approved, _) in per_spender if _parse_approval(approved)
            ),
            position_manager_approved=frozenset(
                spender for spender, (_, _, approved) in per_spender if _parse_approval(approved)
            ),
        )

    def parse_or_failure(
        self, block_number: int, answers: Sequence[bytes]
    ) -> WalletBalances | Transient:
        try:
            return self.parse(block_number, answers)
        except Transient as error:
            return error


def group_queries(queries: Sequence[WalletQuery]) -> Iterator[list[WalletQuery]]:
    """Split the queries, in order, into groups that each fit into one snapshot."""
    group: list[WalletQuery] = []
    for query in queries:
        calls = sum(each.call_count for each in (*group, query))
        tokens = sum(each.token_count for each in (*group, query))
        if group and (calls > MAX_CALLS_PER_SNAPSHOT or tokens > MAX_TOKENS_PER_CALL):
            yield group
            group = []
        group.append(query)
    if group:
        yield group


def build_balance_call(wallet: str, token_id: int) -> bytes:
    """The calldata that reads one ERC-1155 balance."""
    return _BALANCE_OF_TOKEN + encode(["address", "uint256"], [wallet, token_id])


def parse_balance(answer: object) -> int:
    """Parse the 0x answer to ``build_balance_call``: micro-shares. Raises: Transient."""
    return _parse_amount(parse_data(answer, "answer of a contract"), "an ERC-1155 balance")


@dataclass(frozen=True, slots=True)
class BalancesGroup:
    """Balances that one call reads: of any wallets, of one contract."""

    contract: str
    positions: tuple[int, ...]
    """Of each query among all."""
    queries: tuple[tuple[str, int], ...]

    def build_call(self) -> bytes:
        wallets, token_ids = zip(*self.queries, strict=True)
        return _BALANCE_OF_BATCH + encode(["address[]", "uint256[]"], [wallets, token_ids])

    def parse(self, answer: object) -> list[int]:
        """Parse the 0x answer: micro-shares in order. Raises: Transient."""
        return _parse_balances(parse_data(answer, "answer of a contract"), len(self.queries))


def group_balances(queries: Sequence[tuple[str, int]]) -> list[BalancesGroup]:
    """Split wallets and tokens into calls, each of one contract and of a bounded size."""
    by_contract: dict[str, list[tuple[int, tuple[str, int]]]] = {}
    for position, query in enumerate(queries):
        by_contract.setdefault(positions_contract(query[1]), []).append((position, query))
    return [
        BalancesGroup(contract, *zip(*members[start : start + MAX_TOKENS_PER_CALL], strict=True))
        for contract, members in by_contract.items()
        for start in range(0, len(members), MAX_TOKENS_PER_CALL)
    ]


def _parse_approval(answer: bytes) -> bool:
    number = _parse_number(answer, "an ERC-1155 approval")
    if number > 1:
        raise Transient("the chain's answer for an ERC-1155 approval is neither true nor false")
    return number == 1


def _parse_number(answer: bytes, what: str) -> int:
    if len(answer) != WORD:
        raise Transient(f"the chain did not return {what}")
    return int.from_bytes(answer)


def _parse_amount(answer: bytes, what: str) -> int:
    return _require_amount(_parse_number(answer, what), what)


def _parse_balances(answer: bytes, count: int) -> list[int]:
    what = "ERC-1155 balances"
    (balances,) = decode_abi(["uint256[]"], answer, f"the chain did not return {what}")
    if len(balances) != count:
        raise Transient(f"the chain returned {len(balances)} of {count} balances")
    return [_require_amount(balance, what) for balance in balances]


def _require_amount(number: int, what: str) -> int:
    if number > MAX_BALANCE:
        raise Transient(f"the chain's answer for {what} is more than there can be: {number}")
    return number
