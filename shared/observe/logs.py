"""What does a log line look like, and what can never be in one?

One line of JSON per record on standard error: time, level, service, logger, message, trace_id, what
was given as ``extra``, the exception.
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
"""Of the process, on purpose: a secret is one to every logger."""

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def register_secret(value: str) -> None:
    """Never let ``value`` into a log line of this process: at the place where a secret is read from
    the settings.
    """
    _REDACTION.register(value)


class LineFormatter(logging.Formatter):
    """A record as one line, cleaned of secrets after everything has been put into words, tracebacks
    too.
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
            "message": self._redaction.cleaned(self._worded(record)),
        }
        if (trace := tracing.trace_id()) is not None:
            fields["trace_id"] = trace
        given = {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
        fields |= {
            name: self._redaction.field(name, value)
            for name, value in given.items()
            if name not in fields
        }
        if text := self._exception(record):
            fields["exception"] = self._redaction.cleaned(text)
        return fields

    def _worded(self, record: logging.LogRecord) -> str:
        """The message with its arguments; one given by name is judged by that name first."""
        arguments = record.args
        if isinstance(arguments, Mapping):
            arguments = {
                name: HIDDEN if self._redaction.hides(name, value) else value
                for name, value in arguments.items()
            }
        try:
            return str(record.msg) % arguments if arguments else str(record.msg)
        except (TypeError, ValueError, KeyError) as misfit:
            return f"{record.msg} (arguments do not fit: {type(misfit).__name__}) {arguments!r}"

    def _exception(self, record: logging.LogRecord) -> str:
        parts = (
            ["".join(traceback.format_exception(record.exc_info[1]))]
            if record.exc_info and record.exc_info[1]
            else []
        )
        return "\n".join(part for part in [*parts, record.stack_info or ""] if part)


class TextFormatter(LineFormatter):
    """The same for people: time, level, service, message, fields; a traceback over several lines."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        head = f"{fields.pop('time')} {fields.pop('level'):<7} {fields.pop('service')} {fields.pop('message')}"
        exception = fields.pop("exception", None)
        line = " ".join([head, *(f"{name}={value}" for name, value in fields.items())])
        return f"{line}\n{exception}" if exception else line


class _StandardError(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Say that a record was lost and where, without its arguments: the library would print
        those as they are.
        """
        sys.stderr.write(
            f"a log record of {record.pathname}:{record.lineno} could not be written: {sys.exc_info()[0]}\n"
        )


CHATTY = ("aiokafka", "faust", "mode", "web3", "websockets", "asyncio", "alembic")
"""Libraries whose ordinary course of things is no news: an assignment of 64 partitions is a line of
4,000 characters."""


def setup(service: str, settings: LogSettings) -> None:
    """Send the records of every logger, warnings, and what ends the process or a thread unhandled,
    to standard error in our form.
    """
    handler = _StandardError(sys.stderr)
    handler.setFormatter(
        (LineFormatter if settings.format == "json" else TextFormatter)(service, _REDACTION)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(
            max(logging.WARNING, logging.getLevelName(settings.level))
        )
    logging.captureWarnings(True)  # noqa: FBT003 - the standard library's own signature
    sys.excepthook = _ended_unhandled
    threading.excepthook = lambda ended: _ended_unhandled(
        ended.exc_type, ended.exc_value, ended.exc_traceback
    )


def _ended_unhandled(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("slipstream").critical(
        "ended by an error that nothing handled", exc_info=(kind, error, trace)
    )
