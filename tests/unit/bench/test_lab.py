"""How the variants of the lab are written, and how they are compared."""

import sys
from pathlib import Path

import pytest

from tests.unit.bench.test_goals import measured
from tools.bench.lab import LabResult, build_means_table, parse_options, parse_variant
from tools.bench.loads import parse_loads
from tools.bench.options import build_variant
from tools.bench.systems import SERVICES, Checkout, Variant

USUAL = Variant(services=("ingest",))


def test_a_variant_is_a_name_and_variables() -> None:
    name, variant = parse_variant("a:KAFKA_X=1,DATABASE_URL=postgresql://h/d?x=1", {}, USUAL)

    assert name == "a"
    assert variant.environment == {"KAFKA_X": "1", "DATABASE_URL": "postgresql://h/d?x=1"}
    assert (variant.services, variant.checkout) == (("ingest",), Checkout())
    assert parse_variant("base:", {}, USUAL)[1].environment == {}


@pytest.mark.parametrize("text", ["base", ":X=1", "a:X", "a:=1"])
def test_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no variant"):
        parse_variant(text, {}, USUAL)


def test_a_worktree_is_run_with_its_own_virtual_environment(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no \.venv"):
        parse_variant("old:", {"old": tmp_path}, USUAL)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()

    old, new = (parse_variant(name, {"old": tmp_path}, USUAL)[1] for name in ("old:", "new:"))

    assert (old.checkout.folder, old.checkout.python) == (tmp_path, python)
    assert old.checkout.command_line == tmp_path / ".venv" / "bin" / "slipstream"
    assert new.checkout.python == Path(sys.executable)


def test_options_stand_before_variants() -> None:
    options = parse_options(
        ["--without", "tx-monitor", "--rounds", "2", "--loads", "50x3,history", "base:", "a:X=1"]
    )

    assert [name for name, _ in options.variants] == ["base", "a"]
    assert [load.name for load in options.loads] == ["50 copies/s"]
    assert build_variant(options).services == [n for n in SERVICES if n != "tx-monitor"]


def test_a_worktree_that_names_no_variant_is_refused() -> None:
    with pytest.raises(SystemExit):
        parse_options(["--worktree", "old=/nowhere", "base:"])


def test_means_are_compared_with_the_first_variant() -> None:
    (load,) = parse_loads("200")
    results = [
        LabResult(
            variant=name,
            round=number,
            row=measured(load, p50=10 * number, cpu=cpu),
            stages_ms={},
            statements=(),
        )
        for name, cpu in (("base", 2.0), ("a", 1.0))
        for number in (1, 2)
    ]

    table = build_means_table(results)

    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["variant"] == ["base", "a"]
    assert cells["p50 ms"] == ["15.0", "15.0"]
    assert cells["/ first"] == ["1.00", "0.50"]
