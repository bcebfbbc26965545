"""Resolves markets on the chain: a market, and the others of its neg-risk event."""

from collections.abc import Callable, Mapping

from services.paper_venue.chain.conditions import Condition, report_payouts
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.world.opening import World


class ChainResolver:
    """Reports payouts on the chain, as the oracle would."""

    def __init__(
        self, deployment: Deployment, world: World, *, is_resolved: Callable[[str], bool]
    ) -> None:
        self._deployment = deployment
        self._world = world
        self._is_resolved = is_resolved

    async def resolve(self, condition_id: str, yes: int, no: int) -> Mapping[str, tuple[int, int]]:
        """Resolve a market. If it wins its neg-risk event, resolve the event's other open markets
        as NO.

        Returns the payout numerators (yes, no) by condition id. Raises: LookupError (no such
        market), TransactionReverted, Transient.
        """
        condition = self._world.find_condition(condition_id)
        if condition is None:
            raise LookupError(f"there is no market {condition_id}")
        payouts = {condition: (yes, no)}
        if yes:
            payouts |= {
                other: (0, 1)
                for other in self._others(condition)
                if not self._is_resolved(other.condition_id)
            }
        for each, (of_yes, of_no) in payouts.items():
            await report_payouts(self._deployment, each, yes=of_yes, no=of_no)
        return {each.condition_id: payout for each, payout in payouts.items()}

    def _others(self, condition: Condition) -> list[Condition]:
        return [
            other
            for other in self._world.event_conditions(condition.condition_id)
            if other != condition
        ]
