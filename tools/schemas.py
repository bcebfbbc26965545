"""Write the JSON Schema of every message to shared/schemas: ``python -m tools.schemas``."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import shared.messages
from shared.messages.base import Message

FOLDER = Path(__file__).resolve().parents[1] / "shared" / "schemas"
FAMILIES = tuple(
    f"shared.messages.{module.name}" for module in pkgutil.iter_modules(shared.messages.__path__)
)


def message_classes() -> list[type[Message]]:
    """Every message class that has a topic, sorted by name."""
    modules = [importlib.import_module(name) for name in FAMILIES]
    classes = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Message)
    }
    return sorted(
        (kind for kind in classes if hasattr(kind, "topic")), key=lambda kind: kind.__name__
    )


def schemas() -> Iterator[tuple[str, str]]:
    """The file name and the content of each schema."""
    for kind in message_classes():
        version = kind.model_fields["version"].default
        schema = kind.model_json_schema(mode="serialization") | {"x-topic": kind.topic}
        yield (
            f"{kind.__name__}.v{version}.json",
            json.dumps(schema, indent=2, sort_keys=True) + "\n",
        )


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, content in schemas():
        (FOLDER / name).write_text(content)
    print(f"{len(message_classes())} schemas in {FOLDER}")


if __name__ == "__main__":
    main()
