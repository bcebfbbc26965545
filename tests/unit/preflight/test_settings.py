"""How long a copy is worth making."""

import pytest

from services.preflight.settings import Settings
from shared.domain.errors import InvalidSettings
from shared.settings import read


def test_an_exit_lives_longer_than_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")

    assert read(Settings).max_exit_age > read(Settings).max_entry_age


def test_exits_that_would_be_given_up_before_entries_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFLIGHT_MAX_EXIT_AGE", "PT59S")

    with pytest.raises(InvalidSettings, match="PREFLIGHT_MAX_EXIT_AGE"):
        read(Settings)
