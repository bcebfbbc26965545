"""How a process reads its environment: completely, at the start, or not at all."""

from typing import TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from shared.domain.errors import InvalidSettings

S = TypeVar("S", bound=BaseSettings)


def read(kind: type[S]) -> S:
    """The settings from the environment. Raises: InvalidSettings, naming each variable, what it got and what it wants."""
    try:
        return kind()
    except ValidationError as error:
        complaints = [_complaint(kind, each["loc"], each["msg"], each.get("input")) for each in error.errors(include_url=False)]
        raise InvalidSettings("\n".join(complaints)) from None


def _complaint(kind: type[BaseSettings], location: tuple[int | str, ...], wants: str, got: object) -> str:
    if not location:
        return wants
    name = str(location[0])
    variable = f"{kind.model_config.get('env_prefix', '')}{name}".upper()
    field = kind.model_fields.get(name)
    if isinstance(got, dict) and name not in got:
        return f"{variable} is not set: {wants.lower()}"
    if field is not None and SecretStr.__name__ in str(field.annotation):
        return f"{variable} has a wrong value (not shown, it is a secret): {wants.lower()}"
    return f"{variable} is {got!r}: {wants.lower()}"
