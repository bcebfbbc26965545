"""The project follows its house rules."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.architecture import project, rules

SERVICES = project.pipeline_services()
LOCKS = [
    path
    for path in project.files()
    if path.suffix == ".lock" or path.name in {"package-lock.json", "npm-shrinkwrap.json"}
]


def violations(paths: Iterable[Path], rule: Callable[[str], list[str]]) -> list[str]:
    return [f"{path}: {violation}" for path in paths for violation in rule(project.read(path))]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_of_the_pipeline_has_the_same_files(service: str) -> None:
    assert rules.service_shape(SERVICES[service]) == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_its_card(service: str) -> None:
    assert violations([Path("services") / service / "__init__.py"], rules.service_card) == []


def test_money_code_uses_no_float() -> None:
    paths = project.money_code()

    assert paths
    assert violations(paths, rules.floats) == []


def test_files_and_functions_are_short() -> None:
    written = [
        path
        for path in project.python("services", "shared", "cli", "tools")
        if "versions" not in path.parts
    ]

    assert violations(written, rules.sizes) == []


def test_no_test_sleeps() -> None:
    paths = [
        *project.python("tests"),
        *(path for path in project.python("shared") if path.parts[1] == "testing"),
    ]

    assert (
        violations(
            [path for path in paths if path != Path("shared/testing/waiting.py")], rules.sleeps
        )
        == []
    )


def test_no_file_names_a_machine_or_a_registry() -> None:
    assert violations(project.files(), rules.machine_traces) == []


def test_lock_files_contain_no_address() -> None:
    assert LOCKS
    assert violations(LOCKS, rules.lock_addresses) == []


def test_the_environment_is_read_in_settings_and_app_only() -> None:
    readers = {"settings", "app"}
    others = [
        path
        for path in project.python("services", "shared", "cli", "tools")
        if not readers & {path.stem, path.parent.name}
    ]

    assert violations(others, rules.environment_reads) == []


def test_every_file_is_named_after_what_it_does() -> None:
    assert rules.unnamed(project.python("services", "shared", "cli", "tools", "tests")) == []


def test_every_module_has_a_docstring() -> None:
    assert violations(project.python("services", "shared", "cli", "tools"), rules.undescribed) == []
