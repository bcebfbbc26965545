"""A transaction that the node keeps queued although its turn has come is sent again."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from services.paper_venue.chain import sender
from services.paper_venue.chain.sender import wait_until_mined
from shared.chain.rpc import Request, Rpc

SENDER = "0x" + "11" * 20
SIGNED = [("0xa", "raw a"), ("0xb", "raw b")]


class StuckNode:
    """Has mined the first transaction, and keeps the second queued until the pool is cleared."""

    def __init__(self) -> None:
        self.mined = {"0xa"}
        self.pool = {"raw b"}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    async def call(self, method: str, *params: Any) -> Any:
        self.calls.append((method, params))
        if method == "anvil_removePoolTransactions":
            self.pool.clear()
        if method == "eth_sendRawTransaction" and params[0] not in self.pool:
            self.mined.add("0xb")
        return True

    async def call_batch(self, requests: Sequence[Request]) -> list[Any]:
        return [
            {"transactionHash": params[0], "status": "0x1"} if params[0] in self.mined else None
            for _, params in requests
        ]


async def test_a_stuck_transaction_is_removed_from_the_pool_and_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "_POLL_INTERVAL_S", 0)
    node = StuckNode()

    receipts = await wait_until_mined(cast(Rpc, node), SIGNED, senders=[SENDER])

    assert [receipt["transactionHash"] for receipt in receipts] == ["0xa", "0xb"]
    assert ("anvil_removePoolTransactions", (SENDER,)) in node.calls
    assert [params for method, params in node.calls if method == "eth_sendRawTransaction"] == [
        ("raw b",)
    ]
