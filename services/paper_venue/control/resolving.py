"""How does a market end on the chain, and which others end with it?"""

from collections.abc import Callable, Mapping

from services.paper_venue.chain.conditions import Condition, report_payouts
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.world.opening import World


class ChainResolving:
    """Reports payouts as the oracle would."""

    def __init__(
        self, deployment: Deployment, world: World, *, is_resolved: Callable[[str], bool]
    ) -> None:
        self._deployment = deployment
        self._world = world
        self._is_resolved = is_resolved

    async def resolve(self, condition_id: str, yes: int, no: int) -> Mapping[str, tuple[int, int]]:
        """With a neg-risk event's winner, all its other markets end as NO. Raises:
        TransactionReverted, Transient.
        """
        condition = self._world.condition_of(condition_id)
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
            other for other in self._world.event_of(condition.condition_id) if other != condition
        ]
