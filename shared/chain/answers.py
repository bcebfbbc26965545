"""What a node sends, read as values. Pure.

Nodes and the gateways in front of them send more than JSON-RPC allows: an error that is a text, a
JSON text or a page for a body, one error for a whole batch, fewer answers than requests, null where
a field should be. All of it is read here, as a value or as a failure:

    Transient            an answer that cannot be read (shared.domain.errors)
    ├── NoAnswer         there is none: not in time, no connection, or a gateway's error page
    ├── NodeRefused      the node answered with an error: its code and text are attributes
    └── AnswersMissing   the node left out some requests of a batch
"""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from shared.domain.errors import Transient

Request = tuple[str, Sequence[Any]]
"""A method and its parameters."""
Clean = Callable[[str], str]
"""Makes a node's text fit to be logged: without the address and the key of the node."""

MAX_TEXT = 200
"""Characters of a node's text that an error repeats."""
MAX_HEIGHT = 2**63 - 1
"""The largest block number that a database column holds."""

_STATUS_SAYS_MORE = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
"""Statuses that say more than the code of the error in the body."""
_MAY_BE_SIZE = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
"""Statuses, without an error in the body, of gateways to which a request was too large."""
_AFTER_STATUSES = 600
_METHOD_NOT_FOUND = -32601
_RATE = re.compile(
    r"too many requests|request.?rate|rate.?limit|throttl|quota|capacity|credits"
    r"|per.(second|minute|day|month)",
    re.IGNORECASE,
)
"""In the texts of providers that limit how often they are asked. Asking more often for less is no
remedy then."""
_SIZE = re.compile(r"batch|\brange|results|response size|topics|addresses", re.IGNORECASE)
"""In the texts about what is asked for at once, whatever else they say."""
_BATCH_SIZE = re.compile(r"batch|too large|response size", re.IGNORECASE)
"""In the error of one request that failed because of the others in its batch."""
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_SHOWN = re.compile(r"0x[0-9a-zA-Z]*\Z")
_NUMBER = re.compile(r"-?[0-9]{1,9}")


class NoAnswer(Transient):
    """The node did not answer: it is away, or was asked for what takes it too long."""


class NodeRefused(Transient):
    """The node answered a request, or a whole batch, with an error."""

    def __init__(self, method: str, code: int, text: str, data: bytes = b"") -> None:
        """``code``: of the JSON-RPC error; 0 where it has none; the HTTP status where only that
        says something. ``data``: what a contract that reverted returned; empty where the node does
        not say.
        """
        super().__init__(f"{method}: the node refused ({code}): {text}")
        self.code = code
        self.text = text
        self.data = data

    @property
    def is_about_access(self) -> bool:
        """Whether the node limits how often it is asked, or by whom: the refusal says nothing about
        what was asked for.
        """
        is_status = HTTPStatus.BAD_REQUEST <= self.code < _AFTER_STATUSES
        return (is_status and self.code not in _MAY_BE_SIZE) or _limits_rate(self.text)

    @property
    def may_be_size(self) -> bool:
        """Whether it may help to ask for less at once."""
        if self.code == _METHOD_NOT_FOUND:
            return False
        return bool(_SIZE.search(self.text)) or not self.is_about_access


class AnswersMissing(Transient):
    """The node left out some requests of a batch."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(f"{what}: {text}")
        self.may_be_size = not _limits_rate(text)
        """Whether it may help to ask for less at once."""


def _limits_rate(text: str) -> bool:
    return bool(_RATE.search(text)) and not _SIZE.search(text)


def parse_answers(
    raw: bytes, *, status: int, ids: Sequence[int], methods: Sequence[str], clean: Clean
) -> list[Any]:
    """Return what a node answered to the requests with these ids, in their order: the result of
    each, or the NodeRefused that it failed with. ``status`` is the HTTP status.

    Raises: Transient; of these, NodeRefused where the node refused all of them, AnswersMissing and
    NoAnswer.
    """
    what = methods[0] if len(ids) == 1 else f"a batch of {len(ids)} requests ({methods[0]})"
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _unreadable(raw, status=status, what=what, clean=clean) from None
    if isinstance(body, str):
        raise NodeRefused(what, _error_status(status), clean(body))
    if isinstance(body, dict):
        if body.get("error") is not None and (len(ids) > 1 or body.get("id") is None):
            raise _refusal(what, body["error"], status=status, clean=clean)
        body = [{**body, "id": ids[0]} if body.get("id") is None else body]
    if not isinstance(body, list):
        raise Transient(f"{what}: the node's answer is no JSON-RPC answer (status {status})")
    return _match(body, status=status, ids=ids, methods=methods, what=what, clean=clean)


def names_batch_size(answers: Sequence[Any]) -> NodeRefused | None:
    """The first refusal among the answers to a batch that is about the size of the batch."""
    return next(
        (each for each in answers if isinstance(each, NodeRefused) and _is_batch_size(each)), None
    )


def _is_batch_size(refusal: NodeRefused) -> bool:
    return refusal.may_be_size and bool(_BATCH_SIZE.search(refusal.text))


def _match(
    elements: Sequence[Any],
    *,
    status: int,
    ids: Sequence[int],
    methods: Sequence[str],
    what: str,
    clean: Clean,
) -> list[Any]:
    """The answers by their ids, whatever their order; what has no known id answers nothing."""
    position_by_id = {str(each): position for position, each in enumerate(ids)}
    answers: dict[int, Any] = {}
    stray = ""
    for element in elements:
        if not isinstance(element, dict):
            continue
        error = element.get("error")
        position = position_by_id.get(str(element.get("id")))
        if position is None or position in answers:
            if error is not None:
                stray = stray or f": {_parse_error(error, clean)[1]}"
        elif error is not None:
            answers[position] = _refusal(methods[position], error, status=status, clean=clean)
        elif "result" in element:
            answers[position] = element["result"]
    if len(answers) < len(ids):
        refusals = [each for each in answers.values() if isinstance(each, NodeRefused)]
        reason = f": {refusals[0].text}" if refusals else stray
        raise AnswersMissing(what, f"the node answered {len(answers)} of {len(ids)}{reason}")
    return [answers[position] for position in range(len(ids))]


def _unreadable(raw: bytes, *, status: int, what: str, clean: Clean) -> Transient:
    """The failure of a body that is not JSON: empty, cut off, a page, or a plain text."""
    text = raw[: 2 * MAX_TEXT].decode(errors="replace").strip()
    said = f": {clean(text)}" if text and not text.startswith(("<", "{", "[")) else ""
    if status in _MAY_BE_SIZE:
        return NodeRefused(what, status, f"HTTP status {status}{said}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return NoAnswer(f"{what}: no answer from the node (status {status}){said}")
    return Transient(f"{what}: no JSON from the node (status {status}){said}")


def _refusal(what: str, error: object, *, status: int, clean: Clean) -> NodeRefused:
    code, text = _parse_error(error, clean)
    data = error.get("data") if isinstance(error, dict) else None
    return NodeRefused(
        what,
        status if status in _STATUS_SAYS_MORE else code,
        text,
        bytes.fromhex(data[2:]) if isinstance(data, str) and _DATA.fullmatch(data) else b"",
    )


def _parse_error(error: object, clean: Clean) -> tuple[int, str]:
    """The code and the text of an error, which should be an object with both."""
    if not isinstance(error, dict):
        return 0, clean(str(error))
    code, message = error.get("code"), error.get("message")
    text = str(message) if message else str(error.get("data") or "no text")
    if isinstance(code, int) and not isinstance(code, bool):
        return code, clean(text)
    if isinstance(code, str) and _NUMBER.fullmatch(code):
        return int(code), clean(text)
    return 0, clean(f"{code}: {text}" if code else text)


def _error_status(status: int) -> int:
    return status if status >= HTTPStatus.BAD_REQUEST else 0


def parse_quantity(value: object, name: str, *, maximum: int = MAX_HEIGHT) -> int:
    """Parse a number as JSON-RPC gives it: 0x and hexadecimal digits. Raises: Transient."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise Transient(f"the node's {name} is no number: {describe(value)}")
    number = int(value, 16)
    if number > maximum:
        raise Transient(f"the node's {name} is impossible: {describe(value)}")
    return number


def parse_hash(value: object, name: str) -> str:
    """Return a hash of 32 bytes as it was given, 0x hex. Raises: Transient."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise Transient(f"the node's {name} is no hash: {describe(value)}")
    return value


def parse_data(value: object, name: str) -> bytes:
    """Parse bytes, which JSON-RPC gives as 0x hex. Raises: Transient."""
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise Transient(f"the node's {name} is no data: {describe(value)}")
    return bytes.fromhex(value[2:])


def parse_object(value: object, name: str) -> Mapping[str, Any]:
    """Return an object as it is. Raises: Transient where it is none."""
    if not isinstance(value, dict):
        raise Transient(f"the node's {name} is no object: {describe(value)}")
    return value


def decode_abi(types: Sequence[str], data: bytes, failure: str) -> tuple[Any, ...]:
    """Decode what a contract returned. Raises: Transient with the text ``failure``."""
    try:
        return decode(types, data)
    except (DecodingError, OverflowError, ValueError) as error:
        raise Transient(failure) from error


def describe(value: object) -> str:
    """The value where it looks like one of JSON-RPC; else only its type: a text may have anything
    in it.
    """
    if isinstance(value, str) and _SHOWN.match(value):
        return value[:80]
    return type(value).__name__
