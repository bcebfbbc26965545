"""`slipstream demo`: run the demo, handle signals, and report its summary and exit status."""

import asyncio
import json
import logging
import signal
from pathlib import Path

from cli.demo.options import Options, Until
from cli.demo.screen import Screen, open_screen
from cli.demo.session import Demo
from cli.demo.summary import Summary, as_json, format_lines
from tools.stack.errors import StackError
from tools.stack.settings import StackSettings

INTERRUPTED = 130


def run(options: Options) -> int:
    """Run the demo and return the exit status.

    It is 0 only where every check held; with a fault, copies that are not final are allowed if the
    summary names them.
    """
    _configure_logging(options.folder / "demo.log")
    screen = open_screen()
    try:
        summary = asyncio.run(_interruptible(options, screen))
    except asyncio.CancelledError:
        screen.close()
        print("Interrupted: every process has been stopped.")
        return INTERRUPTED
    except StackError as error:
        screen.close()
        print(f"slipstream demo: {error}")
        return 1
    finally:
        screen.close()
    _report(summary, options.folder / "summary.json")
    return 0 if summary.is_accounted_for else 1


def _configure_logging(file: Path) -> None:
    """Log into a file: log lines on the terminal would break the table."""
    file.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=file,
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


async def _interruptible(options: Options, screen: Screen) -> Summary:
    """The first Ctrl-C ends the trading of an endless demo, which then reports its summary. Every
    other one stops the demo.
    """
    task = asyncio.current_task()
    assert task is not None
    demo = Demo(options, screen)

    def interrupt() -> None:
        if options.until is Until.FOREVER and demo.trading:
            demo.stop()
        else:
            task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    return await demo.run(StackSettings.from_environment())


def _report(summary: Summary, file: Path) -> None:
    file.write_text(json.dumps(as_json(summary), indent=2) + "\n")
    print(*format_lines(summary), sep="\n")
    print(f"The same figures as JSON: {file}")
    print(_describe_result(summary))


def _describe_result(summary: Summary) -> str:
    if summary.held:
        return "Every check held."
    if summary.is_accounted_for:
        return (
            f"Every check of the resolved copies held; {len(summary.open_copies)} copies are "
            "unresolved and named above."
        )
    return "NOT every check held."
