"""docs/settings.md: every environment variable of the services and the local stack."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import AliasChoices, HttpUrl, PostgresDsn, SecretStr, TypeAdapter, WebsocketUrl
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from shared.chain.settings import ChainSettings
from shared.db.settings import ControlsSettings, DatabaseSettings
from shared.observe.settings import HealthSettings, LogSettings, TelemetrySettings
from shared.polymarket.settings import VenueSettings
from shared.streams.service import Process
from shared.streams.settings import KafkaSettings
from tools.docs.markdown import table
from tools.stack.settings import REPOSITORY, StackSettings

INTRODUCTION = """# Settings

Written from the code by `make docs`; do not edit it. Every process reads its settings from the
environment when it starts. A missing or wrong value ends the start with a message that names the
variable, its value and what is allowed.

A duration is written as in ISO 8601: `PT0.5S`, `PT30S`, `PT10M`, `PT1H`. Variables marked
**secret** hold a secret or may contain one, such as a password in an address: never log or commit
them.
"""

SHARED: Mapping[str, type[BaseSettings]] = {
    "Kafka": KafkaSettings,
    "Database": DatabaseSettings,
    "Controls": ControlsSettings,
    "Chain": ChainSettings,
    "Venue": VenueSettings,
    "Health and metrics": HealthSettings,
    "Logs": LogSettings,
    "Tracing": TelemetrySettings,
}
PIPELINE = ("ingest", "pricer", "preflight", "executor", "tx_monitor", "debt_recovery")
SECRET_VARIABLES = ("DATABASE_URL", "EXECUTOR_KEYS_FILE", "POLYGON_RPC_URL")
"""Besides those whose type says so: the addresses may contain a password or a provider's key, the
file contains private keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One environment variable."""

    variable: str
    field: FieldInfo
    meaning: str

    @property
    def is_secret(self) -> bool:
        has_secret_type = SecretStr in _alternatives(self.field.annotation)
        return has_secret_type or self.variable in SECRET_VARIABLES


def render_settings() -> str:
    """The page as Markdown."""
    parts = [INTRODUCTION, "## Shared settings\n"]
    parts += [
        _section(f"### {title}", kind, f"Read by {_join(_readers(kind))}.")
        for title, kind in SHARED.items()
    ]
    parts.append("## Services\n")
    for name in PIPELINE:
        also = [title for title, kind in SHARED.items() if name in _readers(kind)]
        line = f"Shared settings as well: {', '.join(also)}."
        parts.append(_section(f"### {_deployed(name)}", _service_settings(name), line))
    parts.append(_section("## Paper venue", _service_settings("paper_venue"), ""))
    line = "Read by `slipstream stack`, `slipstream demo` and the tests."
    parts.append(_section("## Local stack", StackSettings, line))
    return "\n".join(parts)


def list_settings(kind: type[BaseSettings]) -> Iterator[Setting]:
    """The variables of a settings class, in its order."""
    prefix = kind.model_config.get("env_prefix", "")
    for name, field in kind.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            alias = str(alias.choices[0])
        variable = str(alias) if alias else f"{prefix}{name}".upper()
        meaning = " ".join((field.description or "").replace("``", "`").split())
        yield Setting(variable=variable, field=field, meaning=meaning)


def all_classes() -> list[type[BaseSettings]]:
    """Every settings class of the page."""
    services = [_service_settings(name) for name in (*PIPELINE, "paper_venue")]
    return [*SHARED.values(), *services, StackSettings]


def _service_settings(name: str) -> type[BaseSettings]:
    kind: type[BaseSettings] = import_module(f"services.{name}.settings").Settings
    return kind


def _readers(kind: type[BaseSettings]) -> list[str]:
    """The services that read a shared settings class: every one for the classes of ``Process``,
    which every service starts with; otherwise those whose app.py imports the class.
    """
    if kind in get_type_hints(Process).values():
        return list(PIPELINE)
    return [name for name in PIPELINE if kind.__name__ in _imported(name)]


def _imported(service: str) -> set[str]:
    tree = ast.parse((REPOSITORY / "services" / service / "app.py").read_text())
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {alias.name for node in imports for alias in node.names}


def _section(heading: str, kind: type[BaseSettings], readers: str) -> str:
    rows = [_row(setting) for setting in list_settings(kind)]
    head = ("variable", "value", "default", "meaning")
    introduction = f"{readers}\n\n" if readers else ""
    return f"{heading}\n\n{introduction}{table(head, rows)}\n"


def _row(setting: Setting) -> tuple[str, ...]:
    return (
        f"`{setting.variable}`" + (" **secret**" if setting.is_secret else ""),
        describe_values(setting.field),
        _describe_default(setting.field),
        setting.meaning,
    )


def describe_values(field: FieldInfo) -> str:
    """The allowed values in words, with their limits."""
    kinds = [kind for kind in _alternatives(field.annotation) if kind is not NoneType]
    values = " or ".join(_describe_kind(kind) for kind in kinds)
    limits = [*_limits(field.metadata), *_limits(_annotations(field.annotation))]
    return ", ".join([values, *limits])


def _describe_kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    words: Mapping[Any, str] = {
        bool: "`true` or `false`",
        int: "integer",
        float: "number",
        Decimal: "number",
        str: "text",
        frozenset: "texts, separated by commas",
        SecretStr: "text",
        Path: "path",
        timedelta: "duration",
        HttpUrl: "http or https address",
        WebsocketUrl: "ws or wss address",
        PostgresDsn: "PostgreSQL address",
    }
    return words[get_origin(kind) or kind]


def _alternatives(annotation: Any) -> list[Any]:
    """The types of a union, without ``Annotated``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [kind for each in get_args(annotation) for kind in _alternatives(each)]
    return [annotation]


def _annotations(annotation: Any) -> list[Any]:
    """The metadata of ``Annotated`` within a union."""
    if get_origin(annotation) is Annotated:
        metadata = list(annotation.__metadata__)
        return [item for each in metadata for item in getattr(each, "metadata", [each])]
    return [item for each in get_args(annotation) for item in _annotations(each)]


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    for constraint in metadata:
        for name, text in words.items():
            if (limit := getattr(constraint, name, None)) is not None:
                yield f"{text} {_format(limit)}"


def _describe_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined:
        return "not set"
    return f"`{_format(default)}`"


def _format(value: Any) -> str:
    """The value as it is written in the environment."""
    if isinstance(value, Path):
        inside = value.is_absolute() and value.is_relative_to(REPOSITORY)
        return str(value.relative_to(REPOSITORY) if inside else value)
    if isinstance(value, timedelta):
        return str(TypeAdapter(timedelta).dump_python(value, mode="json"))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value.value if isinstance(value, Enum) else value)


def _join(names: Sequence[str]) -> str:
    return "every service" if len(names) == len(PIPELINE) else ", ".join(map(_deployed, names))


def _deployed(name: str) -> str:
    return name.replace("_", "-")
