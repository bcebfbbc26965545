"""What a scenario file may contain, and how a wrong one is reported."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.paper_venue.control.scenario import (
    Scenario,
    ScenarioError,
    parse_scenario,
    read_scenario,
)
from services.paper_venue.faults.catalogue import Fault, FaultOptions

TOML = """
title = "lost answers"

[[step]]
at = 0
on = { drop-reply = { share = 0.1, times = 3 } }

[[step]]
at = 1.5
off = ["drop-reply"]
tick = { market = 2, tick = "0.001" }
"""
JSON = """
{"title": "lost answers", "step": [
  {"at": 0, "on": {"drop-reply": {"share": 0.1, "times": 3}}},
  {"at": 1.5, "off": ["drop-reply"], "tick": {"market": 2, "tick": "0.001"}}
]}
"""


@pytest.mark.parametrize(("name", "text"), [("lost.toml", TOML), ("lost.json", JSON)])
def test_both_formats_are_equal_and_no_fraction_is_rounded(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)

    scenario = read_scenario(tmp_path / name)

    first, second = scenario.step
    assert first.on == {Fault.DROP_REPLY: FaultOptions(share=Decimal("0.1"), times=3)}
    assert (second.at, second.off, scenario.duration_s) == (
        Decimal("1.5"),
        (Fault.DROP_REPLY,),
        Decimal("1.5"),
    )
    assert second.tick is not None
    assert (second.tick.market, second.tick.tick) == (2, "0.001")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"step": [{"at": 0, "on": {"drop-replies": {}}}]},
            "step 1: on: drop-replies is not a fault: there are reset-before, drop-reply",
        ),
        (
            {"step": [{"at": 0, "on": {"drop-reply": {"often": 1}}}]},
            "often is not a known field: there are share, seconds, times",
        ),
        (
            {"step": [{"at": 0, "on": {"drop-reply": {"share": 2}}}]},
            "step 1: on: drop-reply: share: Input should be less than or equal to 1",
        ),
        (
            {"step": [{"at": 0, "of": []}]},
            "step 1: of is not a known field: there are at, on, off, tick",
        ),
        ({"step": [{"at": 0}]}, "step 1: nothing happens: name one of on, off, tick"),
        (
            {"step": [{"at": 0, "tick": {"market": 0, "tick": "0.02"}}]},
            "step 1: tick: tick: Input should be '0.1', '0.01'",
        ),
        (
            {"step": [{"at": 2, "off": ["failed"]}, {"at": 1, "off": ["failed"]}]},
            "step 2: at 1 comes before step 1 (at 2)",
        ),
        ({"step": []}, "at least one step"),
        ({"steps": []}, "steps is not a known field: there are title, seconds, step"),
        (3, "valid dictionary"),
    ],
)
def test_an_error_names_its_step_and_the_allowed_fields(content: Any, message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        parse_scenario(content)
    assert message in str(error.value)


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(ScenarioError) as error:
        parse_scenario({"step": [{"at": -1, "off": ["failed"]}, {"at": 1, "off": ["fail"]}]})
    assert "step 1: at" in str(error.value)
    assert "step 2: off" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.toml", "step = = 1\n", "line 1"),
        ("s.json", "{", "line 1"),
        ("s.yaml", "", "a scenario is a .toml or .json file"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_reported_with_its_path(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ScenarioError) as error:
        read_scenario(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert message in str(error.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        read_scenario(tmp_path / "none.toml")


def test_the_examples_can_be_read_and_together_turn_on_every_fault() -> None:
    examples: list[Scenario] = [
        read_scenario(path) for path in sorted(Path("docs/scenarios").glob("*.toml"))
    ]

    assert {fault for example in examples for step in example.step for fault in step.on} == set(
        Fault
    )
