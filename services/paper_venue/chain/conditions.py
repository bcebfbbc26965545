"""Conditions on the chain: preparing them, minting and distributing their shares, paying out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import POSITIONS_BY_EXCHANGE, Deployment
from services.paper_venue.chain.sender import Call
from shared.chain.addresses import CONDITIONAL_TOKENS, EXCHANGE_V2, POSITION_MANAGER, PUSD
from shared.domain.errors import Transient

_NO_PARENT = bytes(32)
_YES_AND_NO = [1, 2]
_SPLIT = "splitPosition(address,bytes32,bytes32,uint256[],uint256)"
_REDEEM = "redeemPositions(address,bytes32,bytes32,uint256[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A binary market on the chain. ``exchange``: the contract that settles it; ``positions``: the
    ERC-1155 contract that holds its shares.
    """

    question_id: str
    condition_id: str
    yes_token: int
    no_token: int
    exchange: str
    positions: str


async def prepare_condition(
    deployment: Deployment, question_id: str, *, exchange: str = EXCHANGE_V2
) -> Condition:
    """Prepare a condition that the admin resolves and ``exchange`` settles, unless it exists.

    ``question_id`` is 32 bytes, 0x hex. Raises: TransactionReverted, Transient.
    """
    return (await prepare_conditions(deployment, {question_id: exchange}))[0]


async def prepare_conditions(
    deployment: Deployment, exchange_by_question: Mapping[str, str]
) -> list[Condition]:
    """Prepare many conditions, in the given order. Raises: TransactionReverted, Transient."""
    conditions = await _fetch_conditions(deployment, exchange_by_question)
    calls = [(condition.positions, _build_is_prepared_call(condition)) for condition in conditions]
    prepared = [
        int.from_bytes(answer[:32], "big") != 0 for answer in await _fetch_views(deployment, calls)
    ]
    admin = deployment.admin
    await admin.send(
        *(
            Call(
                to=condition.positions,
                data=encode_call(
                    "prepareCondition(address,bytes32,uint256)",
                    admin.address,
                    _bytes32(condition.question_id),
                    2,
                ),
            )
            for condition, is_prepared in zip(conditions, prepared, strict=True)
            if not is_prepared
        )
    )
    return conditions


async def distribute_shares(
    deployment: Deployment, conditions: Sequence[Condition], wallets: Sequence[str], amount: int
) -> None:
    """Give each wallet ``amount`` micro-shares of YES and of NO of each condition, backed by newly
    minted pUSD. Raises: TransactionReverted, Transient.
    """
    if not wallets:
        return
    admin, total = deployment.admin, amount * len(wallets)
    calls = [
        Call(
            to=PUSD,
            data=encode_call("mint(address,uint256)", admin.address, total * len(conditions)),
        )
    ]
    for condition in conditions:
        split = encode_call(
            _SPLIT, PUSD, _NO_PARENT, _bytes32(condition.condition_id), _YES_AND_NO, total
        )
        calls.append(Call(to=condition.positions, data=split, gas=600_000))
        for wallet in wallets:
            for token in (condition.yes_token, condition.no_token):
                transfer = encode_call(
                    "safeTransferFrom(address,address,uint256,uint256,bytes)",
                    admin.address,
                    wallet,
                    token,
                    amount,
                    b"",
                )
                calls.append(Call(to=condition.positions, data=transfer, gas=150_000))
    await admin.send(*calls)


async def report_payouts(
    deployment: Deployment, condition: Condition, *, yes: int, no: int
) -> None:
    """Resolve the condition: YES gets yes/(yes+no) of a pUSD per share, NO the rest.

    Raises: TransactionReverted (resolved already), Transient.
    """
    data = encode_call(
        "reportPayouts(bytes32,uint256[])", _bytes32(condition.question_id), [yes, no]
    )
    await deployment.admin.send(Call(to=condition.positions, data=data))


def build_redeem_call(condition: Condition) -> Call:
    """Build the call by which a holder redeems all its shares of a resolved condition for pUSD."""
    data = encode_call(_REDEEM, PUSD, _NO_PARENT, _bytes32(condition.condition_id), _YES_AND_NO)
    return Call(to=condition.positions, data=data)


async def _fetch_conditions(
    deployment: Deployment, exchange_by_question: Mapping[str, str]
) -> list[Condition]:
    """Fetch ids and tokens in one round trip: from PositionManager the condition's id, from
    ConditionalTokens its two collections.
    """
    calls = [
        (positions, data)
        for question, exchange in exchange_by_question.items()
        for positions in [POSITIONS_BY_EXCHANGE[exchange]]
        for data in _build_describing_calls(deployment, question, positions)
    ]
    answers = iter(await _fetch_views(deployment, calls))
    conditions = []
    for question, exchange in exchange_by_question.items():
        if POSITIONS_BY_EXCHANGE[exchange] == POSITION_MANAGER:
            condition_id = next(answers)
            tokens = (int.from_bytes(condition_id, "big"), int.from_bytes(condition_id, "big") | 1)
        else:
            condition_id = _conditional_tokens_id(deployment, question)
            tokens = (_conditional_token(next(answers)), _conditional_token(next(answers)))
        conditions.append(
            Condition(
                question_id=question,
                condition_id="0x" + condition_id.hex(),
                yes_token=tokens[0],
                no_token=tokens[1],
                exchange=exchange,
                positions=POSITIONS_BY_EXCHANGE[exchange],
            )
        )
    return conditions


def _build_describing_calls(
    deployment: Deployment, question_id: str, positions: str
) -> list[bytes]:
    if positions == POSITION_MANAGER:
        return [
            encode_call(
                "getConditionId(address,bytes32,uint256)",
                deployment.admin.address,
                _bytes32(question_id),
                2,
            )
        ]
    condition_id = _conditional_tokens_id(deployment, question_id)
    return [
        encode_call("getCollectionId(bytes32,bytes32,uint256)", _NO_PARENT, condition_id, index_set)
        for index_set in _YES_AND_NO
    ]


def _conditional_tokens_id(deployment: Deployment, question_id: str) -> bytes:
    return keccak(
        bytes.fromhex(deployment.admin.address[2:])
        + _bytes32(question_id)
        + (2).to_bytes(32, "big")
    )


def _conditional_token(collection: bytes) -> int:
    return int.from_bytes(keccak(bytes.fromhex(PUSD[2:]) + collection), "big")


def _build_is_prepared_call(condition: Condition) -> bytes:
    name = "getOutcomeSlotCount" if condition.positions == CONDITIONAL_TOKENS else "conditions"
    return encode_call(f"{name}(bytes32)", _bytes32(condition.condition_id))


async def _fetch_views(deployment: Deployment, calls: Sequence[tuple[str, bytes]]) -> list[bytes]:
    """The raw results of view calls, in order. Raises: Transient."""
    requests = [
        ("eth_call", [{"to": contract, "data": "0x" + data.hex()}, "latest"])
        for contract, data in calls
    ]
    answers = [bytes.fromhex(answer[2:]) for answer in await deployment.rpc.call_batch(requests)]
    for (contract, _), answer in zip(calls, answers, strict=True):
        if not answer:
            raise Transient(f"{contract} returned nothing: is it deployed?")
    return answers


def _bytes32(value: str) -> bytes:
    return encode(["bytes32"], [bytes.fromhex(value.removeprefix("0x"))])
