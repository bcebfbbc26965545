"""The maximum ages of entries and exits."""

import pytest

from services.preflight.settings import Settings
from shared.domain.errors import InvalidSettings
from shared.settings import read


def test_an_exit_may_be_older_than_an_entry_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")

    assert read(Settings).max_exit_age > read(Settings).max_entry_age


def test_a_maximum_exit_age_below_that_of_entries_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYGON_RPC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PREFLIGHT_MAX_EXIT_AGE", "PT59S")

    with pytest.raises(InvalidSettings, match="PREFLIGHT_MAX_EXIT_AGE"):
        read(Settings)
