"""Each fault of a front, as our own client meets it; a second front is not affected."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from services.paper_venue.polygon_node.faults import RpcFault, RpcFaultOptions, RpcFaults
from services.paper_venue.polygon_node.node import PolygonNode
from shared.chain.rpc import NoAnswer, NodeRefused, Rpc
from shared.testing.waiting import eventually
from tests.integration.polygon_node.senders import Sender, fetch_state
from tests.signed_transactions import sign_transfer

pytestmark = pytest.mark.integration

SEND = "eth_sendRawTransaction"


@pytest.fixture
def faults(node: PolygonNode) -> RpcFaults:
    """Those of the first front."""
    return node.fronts[0].faults


def only(*methods: str, **options: Any) -> RpcFaultOptions:
    return RpcFaultOptions(methods=frozenset(methods), **options)


async def test_a_transaction_that_got_no_answer_is_in_the_pool(
    rpc: Rpc, other_rpc: Rpc, faults: RpcFaults, sender: Sender
) -> None:
    transaction = sign_transfer(sender.account, 0)
    faults.add(RpcFault.NO_ANSWER, only(SEND))

    asking = asyncio.create_task(rpc.call(SEND, transaction.raw))

    await eventually(lambda: faults.strike_counts[RpcFault.NO_ANSWER] == 1)
    assert await fetch_state(other_rpc, transaction) == "pending"
    assert await fetch_state(rpc, transaction) == "pending"
    assert not asking.done()
    asking.cancel()


@pytest.mark.parametrize(
    ("fault", "is_accepted"), [(RpcFault.CLOSED_BEFORE, False), (RpcFault.CLOSED_AFTER, True)]
)
async def test_a_closed_connection_says_nothing_about_the_outcome(
    fault: RpcFault,
    rpc: Rpc,
    faults: RpcFaults,
    sender: Sender,
    *,
    is_accepted: bool,
) -> None:
    transaction = sign_transfer(sender.account, 0)
    faults.add(fault, only(SEND, times=1))

    with pytest.raises(NoAnswer):
        await rpc.call(SEND, transaction.raw)

    assert await fetch_state(rpc, transaction) == ("pending" if is_accepted else "unknown")


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (RpcFault.RATE_LIMITED, NodeRefused, "(429): Too Many Requests"),
        (RpcFault.TEXT_BODY, NoAnswer, "upstream connect error"),
        (RpcFault.JSON_TEXT_BODY, NodeRefused, "internal error"),
    ],
)
async def test_a_provider_that_handles_nothing(
    fault: RpcFault,
    error: type[Exception],
    text: str,
    rpc: Rpc,
    other_rpc: Rpc,
    faults: RpcFaults,
) -> None:
    faults.add(fault, RpcFaultOptions(times=1))

    assert await other_rpc.call("eth_chainId") == "0x89"
    with pytest.raises(error) as raised:
        await rpc.call("eth_chainId")

    assert text in str(raised.value)
    assert await rpc.call("eth_chainId") == "0x89"
    assert faults.strike_counts[fault] == 1


async def test_a_delayed_answer_comes(rpc: Rpc, faults: RpcFaults, sender: Sender) -> None:
    faults.add(RpcFault.DELAY, only(SEND, seconds=Decimal("0.01")))

    transaction = await sender.send(0)

    assert await fetch_state(rpc, transaction) == "pending"
    assert faults.strike_counts[RpcFault.DELAY] == 1


async def test_receipts_without_their_block(
    node: PolygonNode, rpc: Rpc, other_rpc: Rpc, faults: RpcFaults, sender: Sender
) -> None:
    transaction = await sender.send(0)
    await node.mine()
    method = "eth_getTransactionReceipt"
    faults.add(RpcFault.NULL_BLOCK_FIELDS)

    receipt = await rpc.call(method, transaction.hash)

    whole = await other_rpc.call(method, transaction.hash)
    assert receipt["status"] == whole["status"] == "0x1"
    assert (receipt["blockNumber"], receipt["blockHash"]) == (None, None)
    assert whole["blockNumber"] is not None
    faults.set({RpcFault.RECEIPTS_MISSING: RpcFaultOptions()})
    assert await rpc.call(method, transaction.hash) is None


async def test_a_front_without_the_pool(
    rpc: Rpc, other_rpc: Rpc, faults: RpcFaults, sender: Sender
) -> None:
    transaction = await sender.send(0)
    faults.add(RpcFault.POOL_MISSING)

    assert await fetch_state(rpc, transaction) == "unknown"
    assert await fetch_state(other_rpc, transaction) == "pending"
    assert await sender.count("pending") == 0
    assert (
        int(await other_rpc.call("eth_getTransactionCount", sender.account.address, "pending"), 16)
        == 1
    )


async def test_a_front_that_lags_shows_the_chain_as_it_was(
    node: PolygonNode, rpc: Rpc, other_rpc: Rpc, faults: RpcFaults, sender: Sender
) -> None:
    transaction = await sender.send(0)
    head = await node.mine()
    faults.add(RpcFault.LAG, RpcFaultOptions(blocks=2))

    assert int(await rpc.call("eth_blockNumber"), 16) == head - 2
    assert await rpc.call("eth_getBlockByNumber", hex(head), False) is None
    latest = await rpc.call("eth_getBlockByNumber", "latest", False)
    assert int(latest["number"], 16) == head - 2
    finalized = await rpc.call("eth_getBlockByNumber", "finalized", False)
    assert int(finalized["number"], 16) == head - 6
    assert (await sender.count("latest"), await sender.count("pending")) == (0, 1)
    assert await fetch_state(rpc, transaction) == "pending"
    assert await fetch_state(other_rpc, transaction) == "mined"
    with pytest.raises(NodeRefused, match="header not found"):
        await rpc.call("eth_getBalance", sender.account.address, hex(head))
    query = sender.account.address, "latest"
    assert await rpc.call("eth_getBalance", *query) != await other_rpc.call(
        "eth_getBalance", *query
    )
    assert await rpc.call("eth_getLogs", {"fromBlock": hex(head - 1), "toBlock": "latest"}) == []

    await node.mine(2)

    assert await fetch_state(rpc, transaction) == "mined"


async def test_two_fronts_that_disagree_about_the_head(
    node: PolygonNode, rpc: Rpc, other_rpc: Rpc, faults: RpcFaults, sender: Sender
) -> None:
    transaction = await sender.send(0)
    head = await node.mine()
    faults.add(RpcFault.OTHER_HEAD, RpcFaultOptions(blocks=1))

    ours = await rpc.call("eth_getBlockByNumber", hex(head), False)
    receipt = await rpc.call("eth_getTransactionReceipt", transaction.hash)
    theirs = await other_rpc.call("eth_getBlockByNumber", hex(head), False)

    assert ours["hash"] != theirs["hash"]
    assert ours["parentHash"] == theirs["parentHash"]
    assert receipt["blockHash"] == ours["hash"]
    assert await rpc.call("eth_getBlockByNumber", hex(head - 1), False) == (
        await other_rpc.call("eth_getBlockByNumber", hex(head - 1), False)
    )


async def test_a_node_on_another_branch_says_that_the_nonce_is_too_low(
    rpc: Rpc, faults: RpcFaults, sender: Sender
) -> None:
    faults.add(RpcFault.NONCE_TOO_LOW, RpcFaultOptions(times=1))

    assert await sender.fetch_refusal(0) == (-32000, "nonce too low: next nonce 1, tx nonce 0")

    transaction = await sender.send(0)
    assert await fetch_state(rpc, transaction) == "pending"


async def test_finalized_that_is_null_or_an_error(rpc: Rpc, faults: RpcFaults) -> None:
    faults.add(RpcFault.FINALIZED_NULL)
    assert await rpc.call("eth_getBlockByNumber", "finalized", False) is None
    assert await rpc.call("eth_getBlockByNumber", "latest", False) is not None

    faults.set({RpcFault.FINALIZED_ERROR: RpcFaultOptions()})

    with pytest.raises(NodeRefused, match="finalized block not found"):
        await rpc.call("eth_getBlockByNumber", "finalized", False)
    assert await rpc.call("eth_getBlockByNumber", "latest", False) is not None


async def test_a_batch_above_the_limit_is_halved_by_our_client(rpc: Rpc, faults: RpcFaults) -> None:
    faults.add(RpcFault.BATCH_LIMIT, RpcFaultOptions(limit=10))

    answers = await rpc.call_batch([("eth_chainId", ())] * 25)

    assert answers == ["0x89"] * 25
    assert faults.strike_counts[RpcFault.BATCH_LIMIT] > 0


async def test_limits_of_logs(rpc: Rpc, faults: RpcFaults) -> None:
    topics = [f"0x{number:064x}" for number in range(1_001)]
    query = {"fromBlock": "0x1", "toBlock": "0x4"}
    assert await rpc.call("eth_getLogs", query | {"topics": [None, topics]}) == []
    faults.add(RpcFault.TOPIC_LIMIT)
    faults.add(RpcFault.RANGE_LIMIT, RpcFaultOptions(limit=3))

    with pytest.raises(NodeRefused, match="exceed max topics") as too_many:
        await rpc.call("eth_getLogs", query | {"topics": [None, topics]})
    with pytest.raises(NodeRefused, match="block range too large") as too_wide:
        await rpc.call("eth_getLogs", query)

    assert too_many.value.may_be_size
    assert too_wide.value.may_be_size
    assert await rpc.call("eth_getLogs", {"fromBlock": "0x2", "toBlock": "0x4"}) == []


async def test_faults_are_switched_by_another_process_too(rpc: Rpc, other_rpc: Rpc) -> None:
    options = {"methods": ["eth_chainId"], "times": 1}
    await other_rpc.call("node_setFaults", {"rate-limited": options}, 0)

    with pytest.raises(NodeRefused, match="429"):
        await rpc.call("eth_chainId")

    shown = await rpc.call("node_faults")
    assert (shown["rate-limited"]["struck"], shown["rate-limited"]["times"]) == (1, 1)
    assert await other_rpc.call("node_faults") == {}
    await rpc.call("node_clearFaults")
    assert await rpc.call("node_faults") == {}
    with pytest.raises(NodeRefused, match="rate-limit"):
        await rpc.call("node_setFaults", {"rate-limit": {}})
    assert len(await rpc.call("node_fronts")) == 2
