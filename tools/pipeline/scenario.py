"""Play a scenario on a running paper venue, step by step, through its control endpoint."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.paper_venue.control.scenario import MarketRef, Scenario, ScenarioError, Step
from services.paper_venue.faults.catalogue import Fault
from tools.pipeline.venue import VenueControl


class Player:
    """Plays one scenario once; ``report`` is called with a line per step."""

    def __init__(
        self, control: VenueControl, scenario: Scenario, *, report: Callable[[str], None]
    ) -> None:
        self._control = control
        self._scenario = scenario
        self._report = report
        self._active: set[Fault] = set()
        self._strikes: dict[str, int] = {}

    async def play(self) -> Mapping[str, int]:
        """Returns how often each fault struck. All faults of the scenario are off afterwards, also
        when it is cancelled.

        Raises: ScenarioError where a step names a market or leader that does not exist;
        VenueRefused.
        """
        world = await self._control.fetch_world()
        self._check(world)
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            for number, step in enumerate(self._scenario.step, start=1):
                await asyncio.sleep(max(0, start + float(step.at) - loop.time()))
                self._report(f"{step.at} s: step {number}: {_describe_step(step)}")
                await self._carry_out(step, world)
            await asyncio.sleep(max(0, start + float(self._scenario.duration_s) - loop.time()))
        finally:
            await self._turn_off(self._active)
        return self._strikes

    def _check(self, world: Mapping[str, Any]) -> None:
        """Check every step before the first one is carried out."""
        for number, step in enumerate(self._scenario.step, start=1):
            steps_with_market = [
                each for each in (step.tick, step.resolve, step.leader_trade) if each is not None
            ]
            try:
                for each in steps_with_market:
                    find_market(world, each.market)
            except ScenarioError as error:
                raise ScenarioError(f"step {number}: {error}") from error
            if step.leader_trade is not None and step.leader_trade.leader >= len(world["leaders"]):
                raise ScenarioError(
                    f"step {number}: leader must be from 0 to {len(world['leaders']) - 1}"
                )

    async def _carry_out(self, step: Step, world: Mapping[str, Any]) -> None:
        await self._turn_off(set(step.off))
        if step.on:
            await self._control.change_faults(
                {fault: strike.model_dump(mode="json") for fault, strike in step.on.items()}
            )
            self._active |= set(step.on)
        if step.tick is not None:
            await self._control.change_tick(
                find_market(world, step.tick.market)["condition_id"], step.tick.tick
            )
        if step.resolve is not None:
            await self._control.resolve(
                find_market(world, step.resolve.market)["condition_id"], step.resolve.outcome
            )
        if (trade := step.leader_trade) is not None:
            token = find_market(world, trade.market)["token_ids"][
                ("yes", "no").index(trade.outcome)
            ]
            await self._control.leader_trade(
                leader=world["leaders"][trade.leader], token=token, side=trade.side, usdc=trade.usdc
            )
        if step.leaders is not None:
            await self._control.start_leaders(
                trades=step.leaders.trades, per_second=step.leaders.per_second
            )

    async def _turn_off(self, faults: set[Fault]) -> None:
        if faults:
            strikes = (await self._control.fetch_faults())["struck"]
            for fault in faults & self._active:
                self._strikes[fault] = self._strikes.get(fault, 0) + int(strikes.get(fault, 0))
            await self._control.change_faults(dict.fromkeys(faults))
            self._active = self._active - faults


def find_market(world: Mapping[str, Any], reference: MarketRef) -> Mapping[str, Any]:
    """Raises: ScenarioError, listing the existing markets."""
    markets: list[Mapping[str, Any]] = world["markets"]
    if isinstance(reference, int) and 0 <= reference < len(markets):
        return markets[reference]
    matching = [
        market for market in markets if reference in (market["slug"], market["condition_id"])
    ]
    if not matching:
        slugs = ", ".join(market["slug"] for market in markets)
        raise ScenarioError(
            f"there is no market {reference}: there are 0 to {len(markets) - 1}, or {slugs}"
        )
    return matching[0]


def _describe_step(step: Step) -> str:
    words = [f"on: {', '.join(step.on)}"] if step.on else []
    words += [f"off: {', '.join(step.off)}"] if step.off else []
    others = ("tick", "resolve", "leader_trade", "leaders")
    return "; ".join(
        [*words, *(name.replace("_", " ") for name in others if getattr(step, name) is not None)]
    )


async def play_scenario(
    control_url: str, scenario: Scenario, *, report: Callable[[str], None]
) -> Mapping[str, int]:
    """Raises: ScenarioError, VenueRefused."""
    async with VenueControl(control_url) as control:
        playing: Awaitable[Mapping[str, int]] = Player(control, scenario, report=report).play()
        return await playing
