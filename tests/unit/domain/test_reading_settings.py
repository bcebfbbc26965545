"""A wrong variable is reported with its value and the requirement; a secret is not shown."""

from datetime import timedelta

import pytest
from pydantic import Field, HttpUrl, PostgresDsn, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.domain.errors import InvalidSettings
from shared.settings import read


class Probe(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PROBE_", frozen=True)

    node: HttpUrl = Field(validation_alias="PROBE_NODE_URL_ALIAS")
    url: PostgresDsn
    limit: int = Field(default=5, gt=0)
    interval: timedelta = timedelta(seconds=1)
    token: SecretStr = Field(default=SecretStr("long enough"), min_length=8)
    key: SecretStr = Field(
        default=SecretStr("long enough"), min_length=8, validation_alias="PROBE_KEY_ALIAS"
    )
    names: tuple[str, ...] = ()


GOOD = {"PROBE_NODE_URL_ALIAS": "http://127.0.0.1:1", "PROBE_URL": "postgresql://user:pass@host/db"}


def read_error(monkeypatch: pytest.MonkeyPatch, **variables: str | None) -> str:
    for name, value in (GOOD | variables).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as refused:
        read(Probe)
    return str(refused.value)


def test_good_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (GOOD | {"PROBE_LIMIT": "7"}).items():
        monkeypatch.setenv(name, value)

    assert read(Probe).limit == 7


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_error(monkeypatch, PROBE_URL=None).startswith("PROBE_URL is not set")


def test_a_variable_with_an_alias_is_named_without_the_prefix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read_error(monkeypatch, PROBE_NODE_URL_ALIAS=None).startswith(
        "PROBE_NODE_URL_ALIAS is not set"
    )
    assert read_error(monkeypatch, PROBE_NODE_URL_ALIAS="nowhere").startswith(
        "PROBE_NODE_URL_ALIAS is 'nowhere'"
    )


def test_a_wrong_value_is_shown_with_the_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
    text = read_error(monkeypatch, PROBE_LIMIT="0")

    assert "PROBE_LIMIT is '0'" in text
    assert "greater than 0" in text


def test_all_wrong_variables_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    text = read_error(monkeypatch, PROBE_LIMIT="many", PROBE_URL=None, PROBE_INTERVAL="soon")

    assert [line.split()[0] for line in text.splitlines()] == [
        "PROBE_URL",
        "PROBE_LIMIT",
        "PROBE_INTERVAL",
    ]


@pytest.mark.parametrize("name", ["PROBE_TOKEN", "PROBE_KEY_ALIAS"])
def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text = read_error(monkeypatch, **{name: "hunter2"})

    assert name in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hunter2@host/db",
        "postgresql://user:hunter2@/db?port=x",
        "postgresql://u:@/hunter2@host:nine/db",
    ],
)
def test_a_login_in_a_url_is_never_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    text = read_error(monkeypatch, PROBE_URL=url)

    assert "PROBE_URL" in text
    assert "hunter2" not in text


def test_a_list_that_is_not_json_is_a_wrong_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "names" in read_error(monkeypatch, PROBE_NAMES="[").lower()


def test_the_error_has_no_cause_that_contains_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (GOOD | {"PROBE_TOKEN": "hunter2"}).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSettings) as refused:
        read(Probe)

    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
