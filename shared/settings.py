"""How a process reads its environment: completely, at the start, or not at all."""

import re
from typing import TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings
from pydantic_settings.exceptions import SettingsError

from shared.domain.errors import InvalidSettings

S = TypeVar("S", bound=BaseSettings)

LOGIN = re.compile(r"://.*@")
"""In an address; greedy, since a password may hold an @."""

ADDRESS = re.compile(r"://.*")
KEY = re.compile(r"(?<=[^/][/=])[\w-]{16,}")
"""In an address behind the host: providers of nodes put the customer's key into the path or the
query."""


def read(kind: type[S]) -> S:
    """The settings from the environment. Raises: InvalidSettings, naming each variable, what it got
    and what it wants.
    """
    try:
        return kind()
    except ValidationError as error:
        complaints = [
            _describe_error(kind, each["loc"], each["msg"], each.get("input"))
            for each in error.errors(include_url=False)
        ]
        raise InvalidSettings("\n".join(complaints)) from None
    except SettingsError as error:  # a list or an object that is no JSON
        raise InvalidSettings(f"{kind.model_config.get('env_prefix', '')}*: {error}") from None


def _describe_error(
    kind: type[BaseSettings], location: tuple[int | str, ...], wants: str, got: object
) -> str:
    if not location:
        return wants
    name = str(location[0])
    field = kind.model_fields.get(name)
    variable = (
        f"{kind.model_config.get('env_prefix', '')}{name}".upper() if field is not None else name
    )  # an alias is a whole name
    if isinstance(got, dict) and name not in got:
        return f"{variable} is not set: {wants.lower()}"
    if _is_secret(kind, name):
        return f"{variable} has a wrong value (not shown, it is a secret): {wants.lower()}"
    return f"{variable} is {_redact(got)}: {wants.lower()}"


def _redact(got: object) -> str:
    """What was got, without the secrets that an address may carry."""
    without_login = LOGIN.sub("://[redacted]@", repr(got))
    return ADDRESS.sub(lambda address: KEY.sub("[redacted]", address[0]), without_login)


def _is_secret(kind: type[BaseSettings], name: str) -> bool:
    named = [
        field
        for known, field in kind.model_fields.items()
        if name in (known, field.validation_alias)
    ]
    return any(SecretStr.__name__ in str(field.annotation) for field in named)
