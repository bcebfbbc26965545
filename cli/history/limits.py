"""How long rows are kept at least: as long as a topic may deliver again what they came from."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from aiokafka.errors import KafkaError

from cli.errors import CommandError
from shared.domain.history import KEPT_FOR
from shared.streams.settings import KafkaSettings
from shared.streams.topics import TOPICS, fetch_lifetimes

WEEK = timedelta(weeks=1)
DEFAULT_WEEKS = KEPT_FOR // WEEK
BROKER_TIMEOUT_S = 20.0


def require_long_enough(weeks: int, lifetimes: Mapping[str, timedelta | None]) -> None:
    """``lifetimes``: for how long each topic of the cluster may deliver a record; None: for ever.

    Raises: CommandError, naming the topic that keeps its records for longer than the rows.
    """
    if weeks < DEFAULT_WEEKS:
        raise CommandError(
            f"--weeks must be at least {DEFAULT_WEEKS}: topics deliver again for up to "
            f"{max(topic.retention for topic in TOPICS).days} days, and the segment that Kafka "
            "still writes for a week more. Without its rows a copy would be made twice"
        )
    for topic, lifetime in lifetimes.items():
        if lifetime is None:
            raise CommandError(
                f"the topic {topic} keeps its records for ever on this cluster: nothing may be "
                "pruned. `slipstream topics` shows how it differs, `slipstream topics apply` sets "
                "what is declared"
            )
        if lifetime > weeks * WEEK:
            raise CommandError(
                f"the topic {topic} may deliver records again for {lifetime.days} days "
                f"(retention.ms and segment.ms), longer than {weeks} weeks: give --weeks "
                f"{-(-lifetime // WEEK)}, or see `slipstream topics` for how it differs"
            )


def fetch_topic_lifetimes(settings: KafkaSettings) -> Mapping[str, timedelta | None]:
    """Of the declared topics, as the cluster has them. Raises: CommandError."""

    async def fetch() -> Mapping[str, timedelta | None]:
        async with asyncio.timeout(BROKER_TIMEOUT_S):
            return await fetch_lifetimes(settings)

    try:
        return asyncio.run(fetch())
    except (KafkaError, OSError, TimeoutError) as error:
        raise CommandError(
            f"Kafka at KAFKA_BOOTSTRAP_SERVERS={settings.bootstrap_servers} does not say for how "
            f"long its topics keep their records ({type(error).__name__}): start it, or give "
            "--without-broker where its topics are as declared"
        ) from None
