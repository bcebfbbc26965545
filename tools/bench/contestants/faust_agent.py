"""A hop by a Faust agent."""

import sys
import tempfile
from collections.abc import AsyncIterable
from typing import Any

import faust
import orjson

bootstrap, source, target = sys.argv[1:]
app = faust.App(
    "faust-agent",
    broker=f"kafka://{bootstrap}",
    store="memory://",
    datadir=tempfile.mkdtemp(prefix="slipstream-bench-"),
    web_enabled=False,
    topic_allow_declare=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    autodiscover=False,
)
taken = app.topic(
    source, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
)
given = app.topic(
    target, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
)


async def carry(stream: Any) -> None:
    pairs: AsyncIterable[tuple[bytes, bytes]] = stream.items()
    async for key, value in pairs:
        await given.send(key=key, value=orjson.dumps(orjson.loads(value)))


app.agent(taken, name="carry")(carry)
sys.argv = ["faust-agent", "worker", "-l", "warn"]
app.main()
