"""Each house rule reports a violation: a rule that cannot fail protects nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import rules

COMPLETE = [Path(name) for name in rules.SERVICE_FILES]
CARD = '"""Pricer.\n\nconsumes a\nproduces b\nowns c\nguarantees d\nfails e\n"""\n'
ROOTED, OURS, HOME, SCRATCH = (f"/{top}/project" for top in ("root", "work", "home", "tmp"))
REGISTRY = "https://py" + "pi.org/simple"


def test_a_complete_service_is_accepted_and_a_file_may_be_a_package() -> None:
    packaged = [
        *(path for path in COMPLETE if path.name != "decisions.py"),
        Path("decisions/__init__.py"),
        Path("decisions/sizing.py"),
    ]

    assert rules.service_shape(COMPLETE) == []
    assert rules.service_shape(packaged) == []


@pytest.mark.parametrize("name", sorted(rules.SERVICE_FILES))
def test_a_service_without_one_of_its_files_is_reported(name: str) -> None:
    assert rules.service_shape([path for path in COMPLETE if path.name != name]) == [
        f"{name} is missing"
    ]


def test_a_file_that_does_not_belong_to_a_service_is_reported() -> None:
    assert rules.service_shape([*COMPLETE, Path("models.py"), Path("lib/x.py")]) == [
        "lib.py has no place in a service",
        "models.py has no place in a service",
    ]


@pytest.mark.parametrize("word", rules.CARD)
def test_a_card_without_one_of_its_words_is_reported(word: str) -> None:
    assert rules.service_card(CARD) == []
    assert rules.service_card(CARD.replace(f"\n{word}", "\nalso")) == [
        f"the card does not say what the service {word}"
    ]


BAD: list[tuple[Callable[[str], list[str]], str]] = [
    (rules.floats, "price = float(text)"),
    (rules.floats, "def quote(price: float | None) -> None: ..."),
    (rules.floats, "price = amount * 0.5"),
    (rules.sizes, "x = 1\n" * (rules.MAX_FILE_LINES + 1)),
    (rules.sizes, "def f():\n" + "    x = 1\n" * rules.MAX_FUNCTION_LINES),
    (
        rules.sizes,
        "class A:\n    async def f(self):\n" + "        x = 1\n" * rules.MAX_FUNCTION_LINES,
    ),
    (rules.sleeps, "import time\ntime.sleep(1)"),
    (rules.sleeps, "import asyncio as aio\nasync def f(): await aio.sleep(0.1)"),
    (rules.sleeps, "from asyncio import sleep as rest"),
    (rules.environment_reads, "import os\nos.environ['X']"),
    (rules.environment_reads, "import os\nos.getenv('X')"),
    (rules.environment_reads, "from os import environ"),
    (rules.machine_traces, f"cd {ROOTED}"),
    (rules.machine_traces, f"path = '{OURS}/x'"),
    (rules.machine_traces, f"see {HOME}"),
    (rules.machine_traces, f"log in {SCRATCH}/log"),
    (rules.machine_traces, f"pip install -i {REGISTRY} x"),
    (rules.machine_traces, "http://mirror.ma" + "ven.example:8081/x"),
    (rules.machine_traces, "registry.npm" + "js.org"),
    (rules.lock_addresses, "--index-url anything"),
    (rules.lock_addresses, '"resolved": "http://localhost:4873/x.tgz"'),
    (rules.undescribed, "x = 1"),
]

GOOD: list[tuple[Callable[[str], list[str]], str]] = [
    (
        rules.floats,
        '"""Never a float, not 0.5."""\nfrom decimal import Decimal\nprice = Decimal("0.5")',
    ),
    (rules.sizes, "def f():\n" + "    x = 1\n" * (rules.MAX_FUNCTION_LINES - 1)),
    (rules.sizes, "x = 1\n" * rules.MAX_FILE_LINES),
    (rules.sleeps, "async def f(clock): await clock.sleep(1)"),
    (rules.sleeps, "import asyncio\nasync def f(): await asyncio.sleep(0)"),
    (rules.environment_reads, "import os\nos.getpid()"),
    (
        rules.machine_traces,
        "GET /data/order, https://example.com/work/1, mountPath: /tmp, npm install, pip install",
    ),
    (rules.lock_addresses, '    "url": "https://example.com/sponsors"'),
    (rules.lock_addresses, "aiohttp==3.14.5 --hash=sha256:00  # via -c requirements-dev.lock"),
    (rules.undescribed, ""),
    (rules.undescribed, '"""Which?"""\nx = 1'),
]


@pytest.mark.parametrize(("rule", "bad"), BAD)
def test_a_violation_of_a_rule_is_reported(rule: Callable[[str], list[str]], bad: str) -> None:
    assert len(rule(bad)) == 1


@pytest.mark.parametrize(("rule", "good"), GOOD)
def test_what_follows_a_rule_is_not_reported(rule: Callable[[str], list[str]], good: str) -> None:
    assert rule(good) == []


def test_a_file_with_a_meaningless_name_is_reported() -> None:
    assert rules.unnamed([Path("shared/db/utils.py"), Path("shared/db/engine.py")]) == [
        "shared/db/utils.py"
    ]
