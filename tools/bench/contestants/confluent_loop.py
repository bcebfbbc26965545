"""A hop by confluent-kafka (librdkafka)."""

import sys

import orjson
from confluent_kafka import Consumer, Producer

bootstrap, source, target = sys.argv[1:]
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": "confluent-loop",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": True,
        "auto.commit.interval.ms": 50,
        "fetch.wait.max.ms": 100,
    }
)
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "linger.ms": 0,
        "partitioner": "murmur2_random",
    }
)
consumer.subscribe([source])
while True:
    record = consumer.poll(0.5)
    if record is not None and record.error() is None:
        producer.produce(target, orjson.dumps(orjson.loads(record.value())), key=record.key())
    producer.poll(0)
