"""What is to happen to a venue, and when? A scenario file, read and checked as a whole."""

import json
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.paper_venue.faults.catalogue import Fault, FaultOptions

MarketRef = int | str
"""The number of a market in the order of ``/control/world``, from 0; or its slug or condition id.
"""
Amount = Annotated[str, Field(pattern=r"^\d+(\.\d{1,6})?$")]
"""Decimal text: a fraction would have been rounded."""


class ScenarioError(Exception):
    """The file says nothing that can be played; the text says where, and what it may say."""


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TickChange(_Words):
    market: MarketRef
    tick: Literal["0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001"]


class Resolution(_Words):
    market: MarketRef
    outcome: Literal["yes", "no", "split"]


class LeaderTrade(_Words):
    market: MarketRef
    leader: int = Field(default=0, ge=0)
    outcome: Literal["yes", "no"] = "yes"
    side: Literal["BUY", "SELL"] = "BUY"
    usdc: Amount = "10"


class Leaders(_Words):
    """The leaders trade by their own tape."""

    trades: int = Field(ge=1)
    per_second: Amount = "2"


class Step(_Words):
    """One moment, in seconds from the start, and what happens then, in the order of these words."""

    at: Decimal = Field(ge=0, le=86_400)
    on: Mapping[Fault, FaultOptions] = Field(default_factory=dict)
    off: tuple[Fault, ...] = ()
    tick: TickChange | None = None
    resolve: Resolution | None = None
    leader_trade: LeaderTrade | None = None
    leaders: Leaders | None = None

    @model_validator(mode="after")
    def _does_something(self) -> "Step":
        if len(self.model_fields_set - {"at"}) == 0:
            raise ValueError(f"nothing happens: name one of {_words(Step, but='at')}")
        return self


class Scenario(_Words):
    """Steps in the order of their time. What it has turned on is off again after ``seconds`` (else:
    after the last step).
    """

    title: str = ""
    seconds: Decimal | None = Field(default=None, ge=0, le=86_400)
    step: tuple[Step, ...]

    @property
    def length_s(self) -> Decimal:
        return max(self.step[-1].at, self.seconds or Decimal(0))


def read_scenario(path: Path) -> Scenario:
    """A ``.toml`` or ``.json`` file. Raises: ScenarioError."""
    parse = _PARSERS.get(path.suffix)
    if parse is None:
        raise ScenarioError(f"{path}: a scenario is a {' or '.join(_PARSERS)} file")
    try:
        return parse_scenario(parse(path.read_text()))
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}") from error
    except (ScenarioError, ValueError) as error:
        raise ScenarioError(f"{path}: {error}") from error


def parse_scenario(told: Any) -> Scenario:
    """Raises: ScenarioError, naming each step that is wrong and the words that it may have."""
    try:
        scenario = Scenario.model_validate(told)
    except ValidationError as error:
        raise ScenarioError(
            "; ".join(_complaint(each["loc"], each["type"], each["msg"]) for each in error.errors())
        ) from error
    if not scenario.step:
        raise ScenarioError("a scenario has at least one step")
    for number, (before, step) in enumerate(
        zip(scenario.step, scenario.step[1:], strict=False), start=2
    ):
        if step.at < before.at:
            raise ScenarioError(
                f"step {number}: at {step.at} comes before step {number - 1} (at {before.at}): put the steps in order"
            )
    return scenario


def _complaint(location: tuple[int | str, ...], kind: str, message: str) -> str:
    place, words = list(location), _words(Scenario)
    if place[:1] == ["step"] and len(place) > 1:
        place, words = [f"step {int(place[1]) + 1}", *place[2:]], _words(Step)
    if not place:
        return message
    if place[-1] == "[key]":
        return f"{_joined(place[:-1])} is no fault: there are {', '.join(Fault)}"
    if kind == "extra_forbidden":
        inner = _INNER.get(str(place[1])) if len(place) > 2 else None
        return f"{_joined(place)} is no word that is known here: there are {inner or words}"
    return f"{_joined(place)}: {message.removeprefix('Value error, ')}"


def _joined(place: list[int | str]) -> str:
    return ": ".join(str(part) for part in place)


def _words(model: type[BaseModel], *, but: str = "") -> str:
    return ", ".join(name for name in model.model_fields if name != but)


def _from_json(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def _from_toml(text: str) -> Any:
    return tomllib.loads(text, parse_float=Decimal)


_PARSERS: Mapping[str, Callable[[str], Any]] = {".toml": _from_toml, ".json": _from_json}
_INNER = {
    "on": _words(FaultOptions),
    "tick": _words(TickChange),
    "resolve": _words(Resolution),
    "leader_trade": _words(LeaderTrade),
    "leaders": _words(Leaders),
}
