"""How is a scenario played to a running venue? Step by step, by its control endpoint."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.paper_venue.control.scenario import MarketRef, Scenario, ScenarioError, Step
from services.paper_venue.faults.catalogue import Fault
from tools.pipeline.venue import VenueControl


class Player:
    """Plays one scenario once; ``tell`` hears of each step."""

    def __init__(
        self, control: VenueControl, scenario: Scenario, *, tell: Callable[[str], None]
    ) -> None:
        self._control = control
        self._scenario = scenario
        self._tell = tell
        self._on: set[Fault] = set()
        self._struck: dict[str, int] = {}

    async def play(self) -> Mapping[str, int]:
        """Returns how often each fault struck; all that it turned on is off again, also when it is
        cancelled.

        Raises: ScenarioError, where a step names what this world does not have; VenueRefused.
        """
        world = await self._control.world()
        self._check(world)
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            for number, step in enumerate(self._scenario.step, start=1):
                await asyncio.sleep(max(0, start + float(step.at) - loop.time()))
                self._tell(f"{step.at} s: step {number}: {_told(step)}")
                await self._do(step, world)
            await asyncio.sleep(max(0, start + float(self._scenario.duration_s) - loop.time()))
        finally:
            await self._turn_off(self._on)
        return self._struck

    def _check(self, world: Mapping[str, Any]) -> None:
        """Before anything happens."""
        for number, step in enumerate(self._scenario.step, start=1):
            asked = [
                each for each in (step.tick, step.resolve, step.leader_trade) if each is not None
            ]
            try:
                for each in asked:
                    market_of(world, each.market)
            except ScenarioError as error:
                raise ScenarioError(f"step {number}: {error}") from error
            if step.leader_trade is not None and step.leader_trade.leader >= len(world["leaders"]):
                raise ScenarioError(
                    f"step {number}: leader must be from 0 to {len(world['leaders']) - 1}"
                )

    async def _do(self, step: Step, world: Mapping[str, Any]) -> None:
        await self._turn_off(set(step.off))
        if step.on:
            await self._control.change_faults(
                {fault: strike.model_dump(mode="json") for fault, strike in step.on.items()}
            )
            self._on |= set(step.on)
        if step.tick is not None:
            await self._control.change_tick(
                market_of(world, step.tick.market)["condition_id"], step.tick.tick
            )
        if step.resolve is not None:
            await self._control.resolve(
                market_of(world, step.resolve.market)["condition_id"], step.resolve.outcome
            )
        if (trade := step.leader_trade) is not None:
            token = market_of(world, trade.market)["token_ids"][("yes", "no").index(trade.outcome)]
            await self._control.leader_trade(
                leader=world["leaders"][trade.leader], token=token, side=trade.side, usdc=trade.usdc
            )
        if step.leaders is not None:
            await self._control.start_leaders(
                trades=step.leaders.trades, per_second=step.leaders.per_second
            )

    async def _turn_off(self, faults: set[Fault]) -> None:
        if faults:
            struck = (await self._control.faults())["struck"]
            for fault in faults & self._on:
                self._struck[fault] = self._struck.get(fault, 0) + int(struck.get(fault, 0))
            await self._control.change_faults(dict.fromkeys(faults))
            self._on = self._on - faults


def market_of(world: Mapping[str, Any], asked: MarketRef) -> Mapping[str, Any]:
    """Raises: ScenarioError, with the markets that there are."""
    markets: list[Mapping[str, Any]] = world["markets"]
    if isinstance(asked, int) and 0 <= asked < len(markets):
        return markets[asked]
    found = [market for market in markets if asked in (market["slug"], market["condition_id"])]
    if not found:
        slugs = ", ".join(market["slug"] for market in markets)
        raise ScenarioError(
            f"there is no market {asked}: there are 0 to {len(markets) - 1}, or {slugs}"
        )
    return found[0]


def _told(step: Step) -> str:
    words = [f"on: {', '.join(step.on)}"] if step.on else []
    words += [f"off: {', '.join(step.off)}"] if step.off else []
    others = ("tick", "resolve", "leader_trade", "leaders")
    return "; ".join(
        [*words, *(name.replace("_", " ") for name in others if getattr(step, name) is not None)]
    )


async def play_at(
    control_url: str, scenario: Scenario, *, tell: Callable[[str], None]
) -> Mapping[str, int]:
    """Raises: ScenarioError, VenueRefused."""
    async with VenueControl(control_url) as control:
        playing: Awaitable[Mapping[str, int]] = Player(control, scenario, tell=tell).play()
        return await playing
