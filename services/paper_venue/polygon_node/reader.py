"""Answers the requests of one front: from the pool, or from anvil as this front sees the chain."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from services.paper_venue.polygon_node import refusals, views
from services.paper_venue.polygon_node.faults import RpcFault, RpcFaults
from services.paper_venue.polygon_node.parameters import require_param
from services.paper_venue.polygon_node.pool_queries import PoolQueries
from services.paper_venue.polygon_node.refusals import Refused
from services.paper_venue.polygon_node.transactions import parse_transaction

if TYPE_CHECKING:
    from services.paper_venue.polygon_node.node import PolygonNode

BLOCK_POSITIONS: Mapping[str, int] = {
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_getBalance": 1,
    "eth_getBlockByNumber": 0,
    "eth_getBlockReceipts": 0,
    "eth_getCode": 1,
    "eth_getStorageAt": 2,
    "eth_getTransactionCount": 1,
}
"""Where a request names a block."""
_BLOCKS = frozenset({"eth_getBlockByNumber", "eth_getBlockReceipts"})
_RECEIPT = "eth_getTransactionReceipt"
_BY_HASH = frozenset({"eth_getBlockByHash", _RECEIPT})
_TRANSACTION = frozenset({"eth_getTransactionByHash", "eth_getRawTransactionByHash"})
_HEADER_NOT_FOUND = "header not found"
_FINALITY_NOT_FOUND = "{tag} block not found"


class Reader:
    """What one front answers, with its faults."""

    def __init__(self, node: "PolygonNode", faults: RpcFaults) -> None:
        self._node = node
        self._faults = faults
        self._queries = PoolQueries(node)

    async def answer(self, method: str, params: Sequence[Any]) -> Any:
        """Return the result of a request. Raises: Refused; Transient where anvil is away."""
        self._refuse_by_fault(method, params)
        handler = self._queries.handlers.get(method)
        if handler is not None:
            return await handler(params)
        match method:
            case "eth_getTransactionCount":
                return await self._count_transactions(params)
            case "eth_getTransactionByHash" | "eth_getRawTransactionByHash":
                return await self._find_transaction(method, params)
            case "eth_gasPrice":
                return hex(
                    await self._queries.suggest_gas_price(head=await self._find_head(method))
                )
            case "eth_maxPriorityFeePerGas":
                return hex(await self._queries.suggest_tip(head=await self._find_head(method)))
            case "eth_feeHistory":
                head = await self._find_head(method)
                return await self._queries.build_fee_history(params, head=head)
            case _:
                return await self._read_chain(method, params)

    async def _count_transactions(self, params: Sequence[Any]) -> str:
        """The next nonce of an account; of ``pending`` after what the pool has too."""
        method, address = "eth_getTransactionCount", require_param(params, 0)
        if params[1:2] != ["pending"]:
            return str(await self._read_chain(method, params))
        if self._faults.trigger(RpcFault.POOL_MISSING, method):
            return str(await self._read_chain(method, [address, "latest"]))
        # A node that lags still has in its pool what is mined in the blocks that it lacks.
        return hex(await self._queries.count_pending(address))

    async def _find_transaction(self, method: str, params: Sequence[Any]) -> Any:
        found = await self._read_chain(method, params)
        pooled = self._node.pool.find(str(require_param(params, 0)))
        if found is not None or pooled is None:
            return found
        if self._faults.trigger(RpcFault.POOL_MISSING, method):
            return None
        return pooled.build_json() if method == "eth_getTransactionByHash" else pooled.raw

    async def _read_chain(self, method: str, params: Sequence[Any]) -> Any:
        """What anvil answers, as this front sees it."""
        lag = self._faults.trigger(RpcFault.LAG, method)
        params = await self._replace_finality(params, behind=lag.blocks if lag else 0)
        if lag:
            head = max(0, await self._fetch_number() - lag.blocks)
            params = views.replace_tags(params, {"latest": head, "pending": head})
            result = await self._read_earlier(method, params, head=head)
        else:
            result = await self._node.upstream.call(method, *params)
        if method == _RECEIPT:
            result = self._spoil_receipt(result)
        other = self._faults.trigger(RpcFault.OTHER_HEAD, method)
        if other is None:
            return result
        return views.change_hashes(result, above=await self._fetch_number() - other.blocks)

    async def _replace_finality(self, params: Sequence[Any], *, behind: int) -> list[Any]:
        """Numbers instead of tags that do not mean to this front what they mean to anvil."""
        is_anvils = self._node.stalled is None and not behind
        if is_anvils or not views.names_tag(params, views.FINALITY_TAGS):
            return list(params)
        finality = await self._node.fetch_finality()
        numbers = {
            "finalized": max(0, finality.finalized - behind),
            "safe": max(0, finality.safe - behind),
        }
        return views.replace_tags(params, numbers)

    async def _read_earlier(self, method: str, params: list[Any], *, head: int) -> Any:
        """What a node answers whose head is this block."""
        if method == "eth_blockNumber":
            return hex(head)
        position = BLOCK_POSITIONS.get(method)
        if position == len(params):
            params = [*params, hex(head)]
        number = None if position is None else views.find_number(params, position)
        if number is not None and number > head:
            if method in _BLOCKS:
                return None
            raise Refused(_HEADER_NOT_FOUND)
        if method == "eth_getLogs":
            return await self._read_earlier_logs(params, head=head)
        result = await self._node.upstream.call(method, *params)
        if method == "eth_getTransactionByHash":
            return views.unmine_later(result, head=head)
        return views.hide_later(result, head=head) if method in _BY_HASH else result

    async def _read_earlier_logs(self, params: list[Any], *, head: int) -> Any:
        """Beyond its head a node answers with what it has."""
        log_filter = dict(require_param(params, 0))
        first, last = views.parse_range(log_filter)
        if "blockHash" not in log_filter:
            if first is not None and first > head:
                return []
            log_filter["toBlock"] = hex(head if last is None else min(last, head))
        logs = await self._node.upstream.call("eth_getLogs", log_filter)
        return [each for each in logs if int(each["blockNumber"], 16) <= head]

    def _spoil_receipt(self, receipt: Any) -> Any:
        if self._faults.trigger(RpcFault.RECEIPTS_MISSING, _RECEIPT):
            return None
        if self._faults.trigger(RpcFault.NULL_BLOCK_FIELDS, _RECEIPT):
            return views.clear_block_fields(receipt)
        return receipt

    def _refuse_by_fault(self, method: str, params: Sequence[Any]) -> None:
        """Raises: Refused."""
        if method == "eth_sendRawTransaction" and self._faults.trigger(
            RpcFault.NONCE_TOO_LOW, method
        ):
            nonce = parse_transaction(require_param(params, 0)).nonce
            raise Refused(refusals.NONCE_TOO_LOW.format(next=nonce + 1, given=nonce))
        for tag in sorted(views.FINALITY_TAGS):
            if views.names_tag(params, frozenset({tag})) and self._faults.trigger(
                RpcFault.FINALIZED_ERROR, method
            ):
                raise Refused(_FINALITY_NOT_FOUND.format(tag=tag))
        if method == "eth_getLogs":
            self._refuse_logs(require_param(params, 0))

    def _refuse_logs(self, log_filter: Mapping[str, Any]) -> None:
        method = "eth_getLogs"
        most = max(
            (len(each) for each in log_filter.get("topics") or [] if isinstance(each, list)),
            default=0,
        )
        limit = self._faults.find_limit(RpcFault.TOPIC_LIMIT, method)
        if limit is not None and most > limit:
            self._faults.trigger(RpcFault.TOPIC_LIMIT, method)
            raise Refused("exceed max topics", refusals.INVALID_PARAMS)
        first, last = views.parse_range(log_filter)
        limit = self._faults.find_limit(RpcFault.RANGE_LIMIT, method)
        if limit is not None and first is not None and last is not None and last - first >= limit:
            self._faults.trigger(RpcFault.RANGE_LIMIT, method)
            raise Refused(f"block range too large: at most {limit} blocks", refusals.INVALID_PARAMS)

    async def _find_head(self, method: str) -> int:
        """The last block that this front knows."""
        lag = self._faults.trigger(RpcFault.LAG, method)
        return max(0, await self._fetch_number() - (lag.blocks if lag else 0))

    async def _fetch_number(self) -> int:
        return int(await self._node.upstream.call("eth_blockNumber"), 16)
