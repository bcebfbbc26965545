"""`slipstream demo` in a process: signals in, exit status and summary out."""

import asyncio
import json
import logging
import signal
from pathlib import Path

from cli.demo.options import Options, Until
from cli.demo.screen import Screen, open_screen
from cli.demo.session import Demo
from cli.demo.summary import Summary, as_json, lines
from tools.stack.errors import StackError
from tools.stack.settings import StackSettings

INTERRUPTED = 130


def run(options: Options) -> int:
    """Run the demo; returns the exit status: 0 only where every check held, or a fault left nothing
    open but copies that are named.
    """
    _log_to(options.folder / "demo.log")
    screen = open_screen()
    try:
        summary = asyncio.run(_interruptible(options, screen))
    except asyncio.CancelledError:
        screen.close()
        print("Interrupted: everything has been stopped.")
        return INTERRUPTED
    except StackError as error:
        screen.close()
        print(f"slipstream demo: {error}")
        return 1
    finally:
        screen.close()
    _tell(summary, options.folder / "summary.json")
    return 0 if summary.is_accounted_for else 1


def _log_to(file: Path) -> None:
    """Libraries' warnings would tear the table apart."""
    file.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=file,
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


async def _interruptible(options: Options, screen: Screen) -> Summary:
    """Ctrl-C ends a demo without end with its summary; otherwise, and the second time, it stops at
    once.
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


def _tell(summary: Summary, file: Path) -> None:
    file.write_text(json.dumps(as_json(summary), indent=2) + "\n")
    print(*lines(summary), sep="\n")
    print(f"The same figures: {file}")
    print(_verdict(summary))


def _verdict(summary: Summary) -> str:
    if summary.held:
        return "Every check held."
    if summary.is_accounted_for:
        return f"Every check of what is resolved held; {len(summary.open_copies)} copies are unresolved, named above."
    return "NOT every check held."
