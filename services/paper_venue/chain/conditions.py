"""How does a market come to exist on the chain, how are its shares made, and how does it pay out?"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import Call
from shared.chain.addresses import CONDITIONAL_TOKENS, EXCHANGE_V2, EXCHANGE_V3, POSITION_MANAGER, PUSD
from shared.domain.errors import Transient

_NO_PARENT = bytes(32)
_YES_AND_NO = [1, 2]
_SPLIT = "splitPosition(address,bytes32,bytes32,uint256[],uint256)"
_REDEEM = "redeemPositions(address,bytes32,bytes32,uint256[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A binary market's on-chain side. ``exchange`` is the one that settles it, ``positions`` the ERC-1155 that holds its shares."""

    question_id: str
    condition_id: str
    yes_token: int
    no_token: int
    exchange: str
    positions: str


async def prepare_condition(deployment: Deployment, question_id: str, *, version: str = "v1") -> Condition:
    """Prepare a condition that the admin resolves; one that exists is returned. ``version`` is the market's: "v1" or "v2".

    ``question_id`` is 32 bytes, 0x hex. Raises: TransactionReverted, Transient.
    """
    return (await prepare_conditions(deployment, [question_id], version=version))[0]


async def prepare_conditions(deployment: Deployment, question_ids: Sequence[str], *, version: str = "v1") -> list[Condition]:
    """Prepare many at once."""
    found = [await _describe(deployment, question_id, version) for question_id in question_ids]
    prepared = [await _is_prepared(deployment, condition) for condition in found]
    missing = [condition for condition, is_prepared in zip(found, prepared, strict=True) if not is_prepared]
    admin = deployment.admin
    await admin.send(
        *(
            Call(
                to=condition.positions,
                data=encode_call("prepareCondition(address,bytes32,uint256)", admin.address, _bytes32(condition.question_id), 2),
            )
            for condition in missing
        )
    )
    return found


async def deal_shares(deployment: Deployment, condition: Condition, wallets: Sequence[str], amount: int) -> None:
    """Give each wallet ``amount`` micro-shares of YES and of NO, backed by newly minted pUSD."""
    if not wallets:
        return
    admin, total = deployment.admin, amount * len(wallets)
    split = encode_call(_SPLIT, PUSD, _NO_PARENT, _bytes32(condition.condition_id), _YES_AND_NO, total)
    calls = [
        Call(to=PUSD, data=encode_call("mint(address,uint256)", admin.address, total)),
        Call(to=condition.positions, data=split, gas=600_000),
    ]
    for wallet in wallets:
        for token in (condition.yes_token, condition.no_token):
            transfer = encode_call("safeTransferFrom(address,address,uint256,uint256,bytes)", admin.address, wallet, token, amount, b"")
            calls.append(Call(to=condition.positions, data=transfer, gas=150_000))
    await admin.send(*calls)


async def report_payouts(deployment: Deployment, condition: Condition, *, yes: int, no: int) -> None:
    """Resolve the condition: YES gets yes/(yes+no) of a pUSD per share, NO the rest. Raises: TransactionReverted when resolved before."""
    data = encode_call("reportPayouts(bytes32,uint256[])", _bytes32(condition.question_id), [yes, no])
    await deployment.admin.send(Call(to=condition.positions, data=data))


def redeem_call(condition: Condition) -> Call:
    """Return the call by which a holder turns all its shares of a resolved condition into pUSD."""
    data = encode_call(_REDEEM, PUSD, _NO_PARENT, _bytes32(condition.condition_id), _YES_AND_NO)
    return Call(to=condition.positions, data=data)


async def _describe(deployment: Deployment, question_id: str, version: str) -> Condition:
    if version not in ("v1", "v2"):
        raise ValueError(f"a market's version is v1 or v2, not {version!r}")
    if version == "v2":
        return await _describe_position_manager(deployment, question_id)
    oracle = deployment.admin.address
    condition_id = keccak(bytes.fromhex(oracle[2:]) + _bytes32(question_id) + (2).to_bytes(32, "big"))
    tokens = []
    for index_set in _YES_AND_NO:
        arguments = encode_call("getCollectionId(bytes32,bytes32,uint256)", _NO_PARENT, condition_id, index_set)
        collection = await _view(deployment, CONDITIONAL_TOKENS, arguments)
        tokens.append(int.from_bytes(keccak(bytes.fromhex(PUSD[2:]) + collection), "big"))
    return Condition(
        question_id=question_id,
        condition_id="0x" + condition_id.hex(),
        yes_token=tokens[0],
        no_token=tokens[1],
        exchange=EXCHANGE_V2,
        positions=CONDITIONAL_TOKENS,
    )


async def _describe_position_manager(deployment: Deployment, question_id: str) -> Condition:
    asked = encode_call("getConditionId(address,bytes32,uint256)", deployment.admin.address, _bytes32(question_id), 2)
    condition_id = await _view(deployment, POSITION_MANAGER, asked)
    return Condition(
        question_id=question_id,
        condition_id="0x" + condition_id.hex(),
        yes_token=int.from_bytes(condition_id, "big"),
        no_token=int.from_bytes(condition_id, "big") | 1,
        exchange=EXCHANGE_V3,
        positions=POSITION_MANAGER,
    )


async def _is_prepared(deployment: Deployment, condition: Condition) -> bool:
    name = "getOutcomeSlotCount" if condition.positions == CONDITIONAL_TOKENS else "conditions"
    answer = await _view(deployment, condition.positions, encode_call(f"{name}(bytes32)", _bytes32(condition.condition_id)))
    return int.from_bytes(answer[:32], "big") != 0


async def _view(deployment: Deployment, contract: str, data: bytes) -> bytes:
    answer = bytes.fromhex((await deployment.rpc.call("eth_call", {"to": contract, "data": "0x" + data.hex()}, "latest"))[2:])
    if not answer:
        raise Transient(f"{contract} answered nothing: is it deployed?")
    return answer


def _bytes32(value: str) -> bytes:
    return encode(["bytes32"], [bytes.fromhex(value.removeprefix("0x"))])
