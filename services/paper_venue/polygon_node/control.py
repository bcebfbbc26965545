"""The control of a node as JSON-RPC methods, on every front and never struck by its faults.

Quantities are numbers or 0x hex; a parameter in brackets may be left out.

    node_mine [blocks]           builds so many blocks (1); the number of the last one
    node_setMining on            builds blocks by time, or not; whether it did before
    node_setBaseFee wei|null     of every next block; null: as Polygon computes it
    node_hold target             keeps a transaction (hash) or a sender out of blocks
    node_release [target]        holds it no longer; without a target: nothing
    node_dropTransaction hash    removes it from the pool; its raw bytes, null if it is not there
    node_reorg options           depth, [blocks], [reinject], [competing: raw transactions]; the
                                 hashes unmined and reinjected, and the new head
    node_stallFinality on        lets finalized and safe stand still, or follow the head
    node_faults [front]          the faults that are on, with their options, and how often each
                                 has struck
    node_setFaults faults [front]    these by name with their options, and no others
    node_clearFaults [front]     none
    node_fronts                  the addresses of all fronts; the others take their positions

``front`` is a position in node_fronts; without it, it is the front that was asked.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.paper_venue.polygon_node.faults import RpcFault, RpcFaultOptions, RpcFaults
from services.paper_venue.polygon_node.parameters import (
    parse_flag,
    parse_quantity,
    require_param,
)
from services.paper_venue.polygon_node.refusals import INVALID_PARAMS, Refused

if TYPE_CHECKING:
    from services.paper_venue.polygon_node.node import PolygonNode

Json = dict[str, Any]

_FAULTS = TypeAdapter(dict[RpcFault, RpcFaultOptions])


class ReorgOptions(BaseModel):
    """The parameters of node_reorg."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int = Field(ge=1)
    blocks: int | None = Field(default=None, ge=0)
    reinject: bool = True
    competing: tuple[str, ...] = ()


class Control:
    """The methods of one front."""

    def __init__(self, node: "PolygonNode", faults: RpcFaults) -> None:
        self._node = node
        self._faults = faults
        self.handlers: dict[str, Callable[[Sequence[Any]], Awaitable[Any]]] = {
            "node_mine": self._mine,
            "node_setMining": self._set_mining,
            "node_setBaseFee": self._set_base_fee,
            "node_hold": self._hold,
            "node_release": self._release,
            "node_dropTransaction": self._drop,
            "node_reorg": self._reorg,
            "node_stallFinality": self._stall_finality,
            "node_faults": self._show_faults,
            "node_setFaults": self._set_faults,
            "node_clearFaults": self._clear_faults,
            "node_fronts": self._list_fronts,
        }

    async def _mine(self, params: Sequence[Any]) -> str:
        return hex(await self._node.mine(parse_quantity(params[0]) if params else 1))

    async def _set_mining(self, params: Sequence[Any]) -> bool:
        before = self._node.is_mining
        self._node.is_mining = parse_flag(require_param(params, 0))
        return before

    async def _set_base_fee(self, params: Sequence[Any]) -> None:
        given = require_param(params, 0)
        self._node.set_base_fee(None if given is None else parse_quantity(given))

    async def _hold(self, params: Sequence[Any]) -> None:
        self._node.hold(str(require_param(params, 0)))

    async def _release(self, params: Sequence[Any]) -> None:
        self._node.release(str(params[0]) if params else None)

    async def _drop(self, params: Sequence[Any]) -> str | None:
        dropped = await self._node.drop(str(require_param(params, 0)))
        return None if dropped is None else dropped.raw

    async def _reorg(self, params: Sequence[Any]) -> Json:
        try:
            options = ReorgOptions.model_validate(require_param(params, 0))
        except ValidationError as error:
            raise _explain(error) from error
        done = await self._node.reorg(**options.model_dump())
        return {
            "unmined": list(done.unmined),
            "reinjected": list(done.reinjected),
            "head": hex(done.head),
        }

    async def _stall_finality(self, params: Sequence[Any]) -> None:
        await self._node.stall_finality(stalled=parse_flag(require_param(params, 0)))

    async def _show_faults(self, params: Sequence[Any]) -> Json:
        faults = self._choose_front(params, 0)
        return {
            fault.value: {**options.model_dump(mode="json"), "struck": faults.strike_counts[fault]}
            for fault, options in faults.active.items()
        }

    async def _set_faults(self, params: Sequence[Any]) -> None:
        try:
            requested = _FAULTS.validate_python(require_param(params, 0))
        except ValidationError as error:
            raise _explain(error) from error
        self._choose_front(params, 1).set(requested)

    async def _clear_faults(self, params: Sequence[Any]) -> None:
        self._choose_front(params, 0).clear()

    async def _list_fronts(self, params: Sequence[Any]) -> list[str]:
        return [each.url for each in self._node.fronts]

    def _choose_front(self, params: Sequence[Any], position: int) -> RpcFaults:
        if position >= len(params):
            return self._faults
        number = parse_quantity(params[position])
        if number >= len(self._node.fronts):
            raise Refused(f"there is no front {number}", INVALID_PARAMS)
        return self._node.fronts[number].faults


def _explain(error: ValidationError) -> Refused:
    problems = "; ".join(
        ": ".join((".".join(map(str, each["loc"])), each["msg"])) for each in error.errors()
    )
    return Refused(problems, INVALID_PARAMS)
