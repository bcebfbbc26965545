"""The least that a hop by aiokafka can be: a batch in, a batch out."""

import asyncio
import sys

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


async def hop(bootstrap: str, source: str, target: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=bootstrap,
        group_id="raw-aiokafka",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    await asyncio.gather(producer.start(), consumer.start())
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            sent = [
                await producer.send(
                    target, orjson.dumps(orjson.loads(record.value)), key=record.key
                )
                for record in records
            ]
            await asyncio.gather(*sent)
        await consumer.commit()


uvloop.run(hop(*sys.argv[1:]))
