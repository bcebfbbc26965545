"""Answers what only this node knows: the pool, and the fees that it asks for."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from services.paper_venue.polygon_node import fees
from services.paper_venue.polygon_node.parameters import (
    parse_address,
    parse_quantity,
    require_param,
)
from services.paper_venue.polygon_node.pool import Pooled
from services.paper_venue.polygon_node.refusals import Refused
from services.paper_venue.polygon_node.views import parse_number

if TYPE_CHECKING:
    from services.paper_venue.polygon_node.node import PolygonNode

Json = dict[str, Any]

MAX_HISTORY = 1_024
"""Blocks of one eth_feeHistory, as in go-ethereum."""
TIP_BLOCKS = 20
"""Blocks whose tips eth_maxPriorityFeePerGas looks at, as in go-ethereum."""


class PoolQueries:
    """The methods that this node answers instead of anvil."""

    def __init__(self, node: "PolygonNode") -> None:
        self._node = node
        self.handlers: dict[str, Callable[[Sequence[Any]], Awaitable[Any]]] = {
            "eth_sendRawTransaction": self._send,
            "txpool_status": self._count,
            "txpool_content": self._list_content,
            "txpool_contentFrom": self._list_content_from,
            "anvil_dropTransaction": self._drop,
            "evm_mine": self._mine,
            "anvil_mine": self._mine_blocks,
            "hardhat_mine": self._mine_blocks,
        }

    async def count_pending(self, address: Any) -> int:
        """The next nonce of an account after what is mined and what is pending."""
        sender = parse_address(address)
        mined = (await self._node.upstream.fetch_accounts([sender]))[sender].nonce
        return mined + len(self._node.pool.list_pending(sender, mined))

    async def suggest_tip(self, *, head: int) -> int:
        """In wei per gas; ``head``: the last block that is looked at."""
        paid = []
        for number in range(max(0, head - TIP_BLOCKS + 1), head + 1):
            paid += await self._fetch_paid_tips(await self._fetch_header(number))
        return fees.suggest_tip(paid, floor=self._node.pool.limits.tip_floor)

    async def suggest_gas_price(self, *, head: int) -> int:
        """In wei per gas."""
        base_fee = int((await self._fetch_header(head))["baseFeePerGas"], 16)
        return base_fee + await self.suggest_tip(head=head)

    async def build_fee_history(self, params: Sequence[Any], *, head: int) -> Json:
        """The answer of eth_feeHistory. ``head``: the block that ``latest`` is. Raises: Refused."""
        count, newest = require_param(params, 0), parse_number(require_param(params, 1))
        last = head if newest is None else newest
        if last > head:
            raise Refused(f"request beyond head block: requested {last}, head {head}")
        first = max(0, last - min(max(1, parse_quantity(count)), MAX_HISTORY) + 1)
        percentiles = params[2] if len(params) > 2 else None
        headers = [await self._fetch_header(number) for number in range(first, last + 1)]
        history: Json = {
            "oldestBlock": hex(first),
            "baseFeePerGas": [
                *(each["baseFeePerGas"] for each in headers),
                hex(await self._find_base_fee_after(last)),
            ],
            "gasUsedRatio": [
                int(each["gasUsed"], 16) / int(each["gasLimit"], 16) for each in headers
            ],
        }
        if percentiles:
            history["reward"] = [
                [
                    hex(reward)
                    for reward in fees.compute_rewards(
                        await self._fetch_paid_tips(each), percentiles
                    )
                ]
                for each in headers
            ]
        return history

    async def _send(self, params: Sequence[Any]) -> str:
        return await self._node.send(require_param(params, 0))

    async def _drop(self, params: Sequence[Any]) -> str | None:
        dropped = await self._node.drop(str(require_param(params, 0)))
        return None if dropped is None else dropped.hash

    async def _mine(self, params: Sequence[Any]) -> str:
        await self._node.mine()
        return "0x0"

    async def _mine_blocks(self, params: Sequence[Any]) -> None:
        count, interval = [*params, *(None, None)][:2]
        for number in range(parse_quantity(count, default=1)):
            if number and interval is not None:
                await self._node.upstream.call(
                    "evm_increaseTime", parse_quantity(interval, default=0)
                )
            await self._node.mine()

    async def _count(self, params: Sequence[Any]) -> Json:
        grouped = await self._group()
        return {
            name: hex(sum(len(each) for each in by_sender.values()))
            for name, by_sender in grouped.items()
        }

    async def _list_content(self, params: Sequence[Any]) -> Json:
        return {
            name: {sender: _by_nonce(each) for sender, each in by_sender.items()}
            for name, by_sender in (await self._group()).items()
        }

    async def _list_content_from(self, params: Sequence[Any]) -> Json:
        sender = parse_address(require_param(params, 0))
        return {
            name: _by_nonce(by_sender.get(sender, []))
            for name, by_sender in (await self._group()).items()
        }

    async def _group(self) -> dict[str, dict[str, list[Pooled]]]:
        """The pool's content by state and sender."""
        pool = self._node.pool
        accounts = await self._node.upstream.fetch_accounts(pool.senders)
        pending = {each: pool.list_pending(each, state.nonce) for each, state in accounts.items()}
        queued = {each: pool.list_queued(each, state.nonce) for each, state in accounts.items()}
        return {
            "pending": {sender: each for sender, each in pending.items() if each},
            "queued": {sender: each for sender, each in queued.items() if each},
        }

    async def _find_base_fee_after(self, number: int) -> int:
        """The base fee of a block that may not be built yet."""
        if number >= int((await self._node.upstream.fetch_header())["number"], 16):
            return await self._node.producer.fetch_base_fee()
        return int((await self._fetch_header(number + 1))["baseFeePerGas"], 16)

    async def _fetch_header(self, number: int) -> Json:
        return await self._node.upstream.fetch_header(hex(number))

    async def _fetch_paid_tips(self, header: Json) -> list[fees.PaidTip]:
        if not header["transactions"]:
            return []
        receipts = await self._node.upstream.call("eth_getBlockReceipts", header["number"])
        return fees.list_paid_tips(header, receipts or [])


def _by_nonce(pooled: Sequence[Pooled]) -> Json:
    return {str(each.transaction.nonce): each.transaction.build_json() for each in pooled}
