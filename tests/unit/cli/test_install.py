"""The installer needs a recent Python with venv, and says what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.project import ROOT
from tools import install


def test_an_old_python_is_refused_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "MIN_VERSION", (9, 0))

    with pytest.raises(SystemExit, match=r"Python 9\.0 or later is needed.*make PYTHON=python9\.0"):
        install.require_python()


def test_a_full_disk_is_reported_before_anything_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(install, "REQUIRED_MEGABYTES", 10**9)

    with pytest.raises(SystemExit, match="make room"):
        install.require_space()


def test_the_end_of_pips_output_is_shown_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    failing_pip = (
        "print('Collecting one'); "
        "print('ERROR: No matching distribution found for one==1'); "
        "raise SystemExit(1)"
    )
    monkeypatch.setattr(install, "PIP", [sys.executable, "-c", failing_pip])

    with pytest.raises(
        SystemExit, match=r"No matching distribution found for one==1[\s\S]*lacks this package"
    ):
        install.install("packages", [], 1)


def test_the_installer_needs_the_standard_library_alone() -> None:
    script = ROOT / "tools" / "install.py"

    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({str(script)!r})"],
        capture_output=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text().splitlines()
    declared = (
        next(line for line in makefile if line.startswith(".PHONY:"))
        .removeprefix(".PHONY:")
        .split()
    )

    described = [
        line.partition(":")[0]
        for line in makefile
        if "## " in line and not line.startswith(("#", "\t"))
    ]

    assert sorted(described) == sorted(declared)
