"""Reads the settings of a process from its environment, completely and at the start."""

import re
from typing import TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings
from pydantic_settings.exceptions import SettingsError

from shared.domain.errors import InvalidSettings

S = TypeVar("S", bound=BaseSettings)

LOGIN = re.compile(r"://.*@")
"""Within a URL; greedy, because a password may contain an @."""

URL_REST = re.compile(r"://.*")
KEY = re.compile(r"(?<=[^/][/=])[\w-]{16,}")
"""Within a URL after the host: providers of nodes put the customer's key into the path or the
query."""


def read(kind: type[S]) -> S:
    """Read settings from the environment.

    Raises: InvalidSettings with each wrong variable, its value and what is required.
    """
    try:
        return kind()
    except ValidationError as error:
        errors = [
            _describe_error(kind, each["loc"], each["msg"], each.get("input"))
            for each in error.errors(include_url=False)
        ]
        raise InvalidSettings("\n".join(errors)) from None
    except SettingsError as error:  # a list or an object that is not valid JSON
        raise InvalidSettings(f"{kind.model_config.get('env_prefix', '')}*: {error}") from None


def _describe_error(
    kind: type[BaseSettings], location: tuple[int | str, ...], requirement: str, value: object
) -> str:
    if not location:
        return requirement
    name = str(location[0])
    field = kind.model_fields.get(name)
    prefix = kind.model_config.get("env_prefix", "")
    # an alias is the whole name of the variable
    variable = f"{prefix}{name}".upper() if field is not None else name
    if isinstance(value, dict) and name not in value:
        return f"{variable} is not set: {requirement.lower()}"
    if _is_secret(kind, name):
        return f"{variable} has a wrong value (not shown, it is a secret): {requirement.lower()}"
    return f"{variable} is {_redact(value)}: {requirement.lower()}"


def _redact(value: object) -> str:
    """Return the value as text, without the secrets that a URL may contain."""
    without_login = LOGIN.sub("://[redacted]@", repr(value))
    return URL_REST.sub(lambda rest: KEY.sub("[redacted]", rest[0]), without_login)


def _is_secret(kind: type[BaseSettings], name: str) -> bool:
    fields = [
        field
        for known, field in kind.model_fields.items()
        if name in (known, field.validation_alias)
    ]
    return any(SecretStr.__name__ in str(field.annotation) for field in fields)
