"""Scenario files: what happens to a venue and when. A file is read and checked as a whole."""

import json
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.paper_venue.faults.catalogue import Fault, FaultOptions

MarketRef = int | str
"""A market's number in the order of ``/control/world``, from 0; or its slug or condition id."""
Amount = Annotated[str, Field(pattern=r"^\d+(\.\d{1,6})?$")]
"""Decimal text: a number with a fraction may already have been rounded."""


class ScenarioError(Exception):
    """A scenario file cannot be played; the text says where it is wrong and what is allowed."""


class _ScenarioModel(BaseModel):
    """A part of a scenario file; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TickChange(_ScenarioModel):
    market: MarketRef
    tick: Literal["0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001"]


class Resolution(_ScenarioModel):
    market: MarketRef
    outcome: Literal["yes", "no", "split"]


class LeaderTrade(_ScenarioModel):
    market: MarketRef
    leader: int = Field(default=0, ge=0)
    outcome: Literal["yes", "no"] = "yes"
    side: Literal["BUY", "SELL"] = "BUY"
    usdc: Amount = "10"


class LeaderTrading(_ScenarioModel):
    """The leaders trade by their strategies."""

    trades: int = Field(ge=1)
    per_second: Amount = "2"


class Step(_ScenarioModel):
    """What happens at one time, ``at`` seconds from the start, in the order of these fields."""

    at: Decimal = Field(ge=0, le=86_400)
    on: Mapping[Fault, FaultOptions] = Field(default_factory=dict)
    off: tuple[Fault, ...] = ()
    tick: TickChange | None = None
    resolve: Resolution | None = None
    leader_trade: LeaderTrade | None = None
    leaders: LeaderTrading | None = None

    @model_validator(mode="after")
    def _does_something(self) -> "Step":
        if len(self.model_fields_set - {"at"}) == 0:
            raise ValueError(f"nothing happens: name one of {_field_names(Step, except_for='at')}")
        return self


class Scenario(_ScenarioModel):
    """Steps in the order of their times. The faults that it turned on are turned off again after
    ``seconds``; without ``seconds`` after the last step.
    """

    title: str = ""
    seconds: Decimal | None = Field(default=None, ge=0, le=86_400)
    step: tuple[Step, ...]

    @property
    def duration_s(self) -> Decimal:
        return max(self.step[-1].at, self.seconds or Decimal(0))


def read_scenario(path: Path) -> Scenario:
    """Read a ``.toml`` or ``.json`` file. Raises: ScenarioError."""
    parse = _PARSERS.get(path.suffix)
    if parse is None:
        raise ScenarioError(f"{path}: a scenario is a {' or '.join(_PARSERS)} file")
    try:
        return parse_scenario(parse(path.read_text()))
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}") from error
    except (ScenarioError, ValueError) as error:
        raise ScenarioError(f"{path}: {error}") from error


def parse_scenario(content: Any) -> Scenario:
    """Check a scenario. Raises: ScenarioError, naming each wrong step and its allowed fields."""
    try:
        scenario = Scenario.model_validate(content)
    except ValidationError as error:
        raise ScenarioError(
            "; ".join(
                _describe_error(each["loc"], each["type"], each["msg"]) for each in error.errors()
            )
        ) from error
    if not scenario.step:
        raise ScenarioError("a scenario has at least one step")
    for number, (before, step) in enumerate(
        zip(scenario.step, scenario.step[1:], strict=False), start=2
    ):
        if step.at < before.at:
            raise ScenarioError(
                f"step {number}: at {step.at} comes before step {number - 1} (at {before.at}):"
                " put the steps in order"
            )
    return scenario


def _describe_error(location: tuple[int | str, ...], kind: str, message: str) -> str:
    path, fields = list(location), _field_names(Scenario)
    if path[:1] == ["step"] and len(path) > 1:
        path, fields = [f"step {int(path[1]) + 1}", *path[2:]], _field_names(Step)
    if not path:
        return message
    if path[-1] == "[key]":
        return f"{_join(path[:-1])} is not a fault: there are {', '.join(Fault)}"
    if kind == "extra_forbidden":
        inner = _FIELD_NAMES_BY_STEP_FIELD.get(str(path[1])) if len(path) > 2 else None
        return f"{_join(path)} is not a known field: there are {inner or fields}"
    return f"{_join(path)}: {message.removeprefix('Value error, ')}"


def _join(path: list[int | str]) -> str:
    return ": ".join(str(part) for part in path)


def _field_names(model: type[BaseModel], *, except_for: str = "") -> str:
    return ", ".join(name for name in model.model_fields if name != except_for)


def _from_json(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def _from_toml(text: str) -> Any:
    return tomllib.loads(text, parse_float=Decimal)


_PARSERS: Mapping[str, Callable[[str], Any]] = {".toml": _from_toml, ".json": _from_json}
_FIELD_NAMES_BY_STEP_FIELD = {
    "on": _field_names(FaultOptions),
    "tick": _field_names(TickChange),
    "resolve": _field_names(Resolution),
    "leader_trade": _field_names(LeaderTrade),
    "leaders": _field_names(LeaderTrading),
}
