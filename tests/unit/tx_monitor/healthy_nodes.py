"""Chain nodes that answer all that transfers are looked up by, and some of it oddly."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from services.tx_monitor.adapters.nodes import ChainNodes, Node
from tests.nodes import (
    Call,
    LimitedNode,
    a_block,
    a_receipt,
    a_transaction_hash,
    serve_node,
)

HASHES = [a_transaction_hash(number) for number in (1, 2)]
WEI = 3 * 10**20
"""More than fits into 64 bits."""


class Healthy:
    """A node at block 100 whose finalized block is 96; some methods may answer otherwise."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[str] = []
        self.params: dict[str, list[Any]] = {}

    def __call__(self, call: Call) -> Mapping[str, Any]:
        method, params = call["method"], call["params"]
        self.calls.append(method)
        self.params.setdefault(method, []).append(params)
        tag = str(params[method == "eth_getTransactionCount"]) if params else ""
        if (odd := self.answers.get(f"{method}_{tag}", self.answers.get(method))) is not None:
            return dict(odd)
        match method:
            case "eth_getBlockByNumber":
                number = {"latest": 100, "finalized": 96}.get(tag) or int(tag, 16)
                return {"result": a_block(number)}
            case "eth_getTransactionCount":
                return {"result": hex(9 if tag == "latest" else 8)}
            case "eth_feeHistory":
                return {"result": {"baseFeePerGas": ["0x1", "0x2"], "reward": [["0x5"], ["0x6"]]}}
            case "eth_getTransactionReceipt":
                return {"result": a_receipt(1, block=97) if tag == HASHES[0] else None}
            case "eth_getTransactionByHash":
                return {"result": {"hash": tag} if tag == HASHES[0] else None}
        known = {"eth_getBalance": hex(WEI), "eth_blockNumber": "0x64", "eth_chainId": "0x89"}
        return {"result": known.get(method, "0x7")}


async def open_nodes(stack: AsyncExitStack, *answers: Any, timeout_s: float = 30) -> ChainNodes:
    clients = [
        await stack.enter_async_context(serve_node(LimitedNode(answer=answer), timeout_s=timeout_s))
        for answer in answers
    ]
    return ChainNodes([Node(name=str(number), rpc=rpc) for number, rpc in enumerate(clients, 1)])
