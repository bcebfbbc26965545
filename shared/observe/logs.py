"""Log lines: one line of JSON per record on standard error, without secrets.

Its fields: time, level, service, logger, message, trace_id, what was given as ``extra``, exception.
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

from shared.observe import tracing
from shared.observe.redaction import HIDDEN, Redaction
from shared.observe.settings import LogSettings

_REDACTION = Redaction()
"""One per process, on purpose: a secret must be hidden from every logger."""

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def register_secret(value: str) -> None:
    """Keep ``value`` out of every log line of this process. Called where a secret is read."""
    _REDACTION.register(value)


class LineFormatter(logging.Formatter):
    """Formats a record as one line of JSON and removes secrets from the finished text, tracebacks
    included.
    """

    def __init__(self, service: str, redaction: Redaction) -> None:
        super().__init__()
        self._service = service
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record), ensure_ascii=False)

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": self._redaction.clean(self._message(record)),
        }
        if (trace := tracing.trace_id()) is not None:
            fields["trace_id"] = trace
        given = {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
        fields |= {
            name: self._redaction.clean_field(name, value)
            for name, value in given.items()
            if name not in fields
        }
        if text := self._exception(record):
            fields["exception"] = self._redaction.clean(text)
        return fields

    def _message(self, record: logging.LogRecord) -> str:
        """The message with its arguments; an argument whose name marks it as a secret is hidden."""
        arguments = record.args
        if isinstance(arguments, Mapping):
            arguments = {
                name: HIDDEN if self._redaction.hides(name, value) else value
                for name, value in arguments.items()
            }
        try:
            return str(record.msg) % arguments if arguments else str(record.msg)
        except (TypeError, ValueError, KeyError) as error:
            return f"{record.msg} (arguments do not fit: {type(error).__name__}) {arguments!r}"

    def _exception(self, record: logging.LogRecord) -> str:
        parts = (
            ["".join(traceback.format_exception(record.exc_info[1]))]
            if record.exc_info and record.exc_info[1]
            else []
        )
        return "\n".join(part for part in [*parts, record.stack_info or ""] if part)


class TextFormatter(LineFormatter):
    """The same fields as text for people, with tracebacks over several lines."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        time, level, service, message = (
            fields.pop(name) for name in ("time", "level", "service", "message")
        )
        head = f"{time} {level:<7} {service} {message}"
        exception = fields.pop("exception", None)
        line = " ".join([head, *(f"{name}={value}" for name, value in fields.items())])
        return f"{line}\n{exception}" if exception else line


class _StandardError(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Report where a record was lost, without its arguments: the library would print them
        unchanged.
        """
        sys.stderr.write(
            f"a log record of {record.pathname}:{record.lineno} could not be written: "
            f"{sys.exc_info()[0]}\n"
        )


VERBOSE_LIBRARIES = ("aiokafka", "faust", "mode", "websockets", "asyncio", "alembic")
"""Libraries of which only warnings are logged: an assignment of 64 partitions is a line of 4,000
characters."""


def setup(service: str, settings: LogSettings) -> None:
    """Write every log record, every warning and every unhandled exception of the process and its
    threads to standard error.
    """
    handler = _StandardError(sys.stderr)
    handler.setFormatter(
        (LineFormatter if settings.format == "json" else TextFormatter)(service, _REDACTION)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for name in VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.level)))
    logging.captureWarnings(True)  # noqa: FBT003 - the standard library's own signature
    sys.excepthook = _log_unhandled
    threading.excepthook = lambda arguments: _log_unhandled(
        arguments.exc_type, arguments.exc_value, arguments.exc_traceback
    )


def _log_unhandled(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("slipstream").critical(
        "the process or a thread ended because of an unhandled exception",
        exc_info=(kind, error, trace),
    )
