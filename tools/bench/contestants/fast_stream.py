"""A hop by FastStream."""

import asyncio
import sys

import orjson
import uvloop
from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

bootstrap, source, target = sys.argv[1:]
broker = KafkaBroker(bootstrap, acks="all", enable_idempotence=True, logger=None)


async def carry(message: KafkaMessage) -> None:
    await broker.publish(
        orjson.dumps(orjson.loads(message.body)), target, key=message.raw_message.key
    )


broker.subscriber(
    source, group_id="fast-stream", auto_offset_reset="earliest", fetch_max_wait_ms=100
)(carry)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(FastStream(broker, logger=None).run())
