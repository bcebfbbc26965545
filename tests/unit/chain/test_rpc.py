"""A failing node raises an error; it never gives a result."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from aiohttp import web

from shared.chain.client import ChainClient
from shared.chain.rpc import NodeRefused
from shared.domain.errors import Transient
from tests.nodes import SECRET, Call, Respond, as_list, respond_with, serve_node

WALLET = "0x6e0c80c90ea6c15917308F820Eac91Ce2724B5b5"


def say(text: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Respond:
    """A node that responds with this body to everything."""
    return lambda _: web.Response(
        text=text, status=status, content_type="application/json", headers=headers
    )


def answer(make: Callable[[list[Call]], Any]) -> Respond:
    """A node that responds with what ``make`` makes of the requests, as JSON."""
    return lambda body: web.json_response(make(as_list(body)))


def elements(calls: Sequence[Call], **fields: Any) -> list[dict[str, Any]]:
    return [{"jsonrpc": "2.0", "id": call["id"], **fields} for call in calls]


async def abort(_: object) -> web.StreamResponse:
    raise asyncio.CancelledError


async def never_answer(_: object) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


ADDRESS = f"https://polygon.example/v2/{SECRET}"
REFUSAL = {"code": -32000, "message": f"no such project: {SECRET}, see {ADDRESS}"}
FAILURES: dict[str, Respond] = {
    "bad gateway": say("bad gateway", status=502),
    "page": say("<html>welcome</html>"),
    "page of an error": say(f"<html>{SECRET}</html>", status=500),
    "nothing": say(""),
    "nothing, zipped": say("", headers={"Content-Encoding": "gzip"}),
    "no zip": say("[]", headers={"Content-Encoding": "gzip"}),
    "unknown encoding": say("[]", headers={"Content-Encoding": "br"}),
    "cut off": say('[{"jsonrpc": "2.0", "id": 1, "result": "0x'),
    "plain text": say(f"unknown project {SECRET}"),
    "text": say('"Too many requests"'),
    "text of an error": say('"Too many requests"', status=429),
    "too deep": say("[" * 100_000),
    "null": say("null"),
    "number": say("7"),
    "true": say("true"),
    "empty list": say("[]"),
    "empty object": say("{}"),
    "list of lists": say("[[], []]"),
    "list of nulls": say("[null, null]"),
    "forbidden": say(f'{{"error": "{SECRET} is blocked"}}', status=403),
    "rate limit": answer(lambda _: {"error": {"code": -32005, "message": "rate limit"}}),
    "one error for all": answer(
        lambda _: {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}}
    ),
    "one text for all": answer(lambda _: {"error": f"{SECRET} is not a project"}),
    "error as text": answer(lambda calls: elements(calls, error="rate limited")),
    "error as a list": answer(lambda calls: elements(calls, error=["rate limited"])),
    "error that is true": answer(lambda calls: elements(calls, error=True)),
    "empty error": answer(lambda calls: elements(calls, error={})),
    "error without a code": answer(lambda calls: elements(calls, error={"message": "no"})),
    "code as text": answer(lambda calls: elements(calls, error={"code": "-3", "message": "no"})),
    "code as a word": answer(lambda calls: elements(calls, error={"code": "NO", "message": "no"})),
    "message as an object": answer(lambda calls: elements(calls, error={"message": {"a": 1}})),
    "error with the key": answer(lambda calls: elements(calls, error=REFUSAL)),
    "fewer answers": answer(lambda calls: elements(calls[1:], result="0x1")),
    "ids of others": answer(
        lambda calls: [{"jsonrpc": "2.0", "id": 10**9, "result": "0x1"} for _ in calls]
    ),
    "ids that are objects": answer(lambda calls: [{"id": {}, "result": "0x1"} for _ in calls]),
    "neither result nor error": answer(elements),
    "hangs up": abort,
    "never answers": never_answer,
}
EMPTY_RESULTS = answer(lambda calls: elements(calls, result="0x"))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("respond", FAILURES.values(), ids=FAILURES)
async def test_a_failing_node_is_transient_and_the_error_does_not_contain_its_key(
    respond: Respond, count: int
) -> None:
    timeout_s = 1 if respond is never_answer else 30
    async with serve_node(respond, timeout_s=timeout_s) as rpc:
        with pytest.raises(Transient) as failure:
            await rpc.call_batch([("eth_blockNumber", []), ("eth_chainId", [])][:count])

    assert "secret" not in repr(failure.value)
    assert "http" not in str(failure.value).replace("HTTP", "")
    assert failure.value.__cause__ is None


@pytest.mark.parametrize("respond", [*FAILURES.values(), EMPTY_RESULTS], ids=[*FAILURES, "empty"])
async def test_no_balance_is_read_from_a_failing_node(respond: Respond) -> None:
    timeout_s = 1 if respond is never_answer else 30
    async with serve_node(respond, timeout_s=timeout_s) as rpc:
        with pytest.raises(Transient):
            await ChainClient(rpc).fetch_balances(WALLET, [1 << 200])


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        ({"code": -32000, "message": "missing trie node"}, -32000, "missing trie node"),
        ({"code": "-32005", "message": "limit exceeded"}, -32005, "limit exceeded"),
        ({"code": "LIMIT", "message": "too many"}, 0, "LIMIT: too many"),
        ({"message": "no code"}, 0, "no code"),
        ({"code": 3, "data": "0x08c379a0"}, 3, "0x08c379a0"),
        ({}, 0, "no text"),
        ("rate limited", 0, "rate limited"),
        ({"code": -1, "message": "two\nlines \u0000"}, -1, "two lines"),
    ],
)
async def test_a_refusal_has_the_code_and_the_text_of_the_error(
    failure: object, code: int, text: str
) -> None:
    async with serve_node(answer(lambda calls: elements(calls, error=failure))) as rpc:
        with pytest.raises(NodeRefused) as refused:
            await rpc.call_batch([("eth_blockNumber", []), ("eth_chainId", [])])

    assert (refused.value.code, refused.value.text) == (code, text)


async def test_a_body_that_is_a_text_and_an_error_that_is_a_text_are_refusals() -> None:
    """Seen of gateways that limit the rate; asking again in smaller parts would be no remedy."""
    requests: list[Any] = []

    def as_text(body: Any) -> web.Response:
        requests.append(body)
        return web.json_response("Too many requests")

    async with serve_node(as_text) as rpc:
        with pytest.raises(NodeRefused, match="Too many requests"):
            await rpc.call_batch([("eth_blockNumber", [])] * 8)
    async with serve_node(answer(lambda calls: elements(calls, error="rate limited"))) as rpc:
        with pytest.raises(NodeRefused, match="rate limited"):
            await rpc.call_batch([("eth_blockNumber", [])] * 8)

    assert len(requests) == 1


async def test_a_request_that_fails_does_not_fail_the_others_of_its_batch() -> None:
    def respond(body: Any) -> web.Response:
        return respond_with(body, [{"result": "0x1"}, {"error": "unknown block"}])

    async with serve_node(respond) as rpc:
        first, second = await rpc.call_each([("eth_blockNumber", []), ("eth_call", [])])

    assert first == "0x1"
    assert isinstance(second, NodeRefused)


async def test_an_answer_to_another_request_is_none_of_ours() -> None:
    stray = {"jsonrpc": "2.0", "id": 10**9, "result": "0x2"}

    async with serve_node(
        answer(lambda calls: [stray, None, 7, *elements(calls, result=1)])
    ) as rpc:
        assert await rpc.call_batch([("eth_blockNumber", [])] * 3) == [1, 1, 1]


async def test_answers_are_matched_by_id_whatever_their_order() -> None:
    def reverse(calls: list[Call]) -> list[Any]:
        return [
            {"jsonrpc": "2.0", "id": call["id"], "result": call["method"]}
            for call in reversed(calls)
        ]

    async with serve_node(answer(reverse)) as rpc:
        assert await rpc.call_batch([("first", []), ("second", []), ("third", [])]) == [
            "first",
            "second",
            "third",
        ]
        assert await rpc.call_batch([]) == []


async def test_a_single_request_is_no_batch_and_its_answer_needs_no_id() -> None:
    """There are nodes that take no batches, and gateways that lose the id."""

    def respond(body: Any) -> web.Response:
        assert isinstance(body, dict)
        return web.json_response({"result": "0x1"})

    async with serve_node(respond) as rpc:
        assert await rpc.call("eth_blockNumber") == "0x1"
