"""Write docs/metrics.md and docs/settings.md: ``python -m tools.docs``."""

from pathlib import Path

from tools.docs.metrics import render_metrics
from tools.docs.settings import render_settings

FOLDER = Path(__file__).resolve().parents[2] / "docs"


def pages() -> dict[str, str]:
    """The content of each generated page by its file name."""
    return {"metrics.md": render_metrics(), "settings.md": render_settings()}


def main() -> None:
    for name, content in pages().items():
        (FOLDER / name).write_text(content)
        print(f"written: docs/{name}")


if __name__ == "__main__":
    main()
