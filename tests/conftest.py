"""The real Kafka, PostgreSQL and chain of a test session, each started when first needed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import settings

from tests import side_by_side
from tools.stack.background import BackgroundCluster, BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings


def pytest_configure(config: pytest.Config) -> None:
    """Use the same inputs for properties in every run, without a deadline.

    --hypothesis-profile=default draws other inputs.
    """
    settings.load_profile("ci")
    config.pluginmanager.register(side_by_side)


@pytest.fixture(scope="session", autouse=True)
def _no_proxy_for_this_machine() -> Iterator[None]:
    """Connect to this machine directly: an HTTP proxy of the environment is for other hosts."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("NO_PROXY", "no_proxy"):
            patch.setenv(variable, "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="session")
def background() -> Iterator[BackgroundLoop]:
    """An event loop that runs for the whole session; each test has its own."""
    with BackgroundLoop() as loop:
        yield loop


@pytest.fixture(scope="session")
def local_stack(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalStack]:
    """Kafka with one broker, PostgreSQL, and a chain that mines a block for each transaction.

    They are shared by the whole session.
    """
    settings = StackSettings(
        folder=tmp_path_factory.mktemp("stack"),
        quick_compile=True,
        mining="automine",
        durable=False,
    )
    with background.entered(LocalStack(settings)) as stack:
        yield stack


@pytest.fixture(scope="session")
def kafka(local_stack: LocalStack, background: BackgroundLoop) -> str:
    """The bootstrap servers of the session's broker.

    A test uses its own names of topics and groups, since other tests use the same broker.
    """
    _wait_for_groups(local_stack, background)
    return local_stack.kafka_bootstrap_servers


@pytest.fixture(scope="session")
def rpc_url(local_stack: LocalStack) -> str:
    """The URL of the session's chain; other tests deploy and mine on it too."""
    return local_stack.rpc_url


@pytest.fixture
def database_url(local_stack: LocalStack, background: BackgroundLoop) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with own_database(local_stack.database_url, "template0", background) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(local_stack: LocalStack, background: BackgroundLoop) -> Iterator[str]:
    """The name of a database with this release's schema, used as a template for others."""
    from shared.db.engine import open_engine
    from shared.db.migrate import migrate
    from shared.db.settings import DatabaseSettings

    async def migrate_database(url: str) -> None:
        engine = open_engine(DatabaseSettings.model_validate({"url": url}))
        await migrate(engine)
        await engine.dispose()

    with own_database(local_stack.database_url, "template0", background) as url:
        background.call(migrate_database(url))
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def migrated_database_url(
    local_stack: LocalStack, migrated_template: str, background: BackgroundLoop
) -> Iterator[str]:
    """The URL of a database of the test's own, with all tables, empty."""
    with own_database(local_stack.database_url, migrated_template, background) as url:
        yield url


@pytest.fixture(scope="module")
def _three_broker_cluster(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackgroundCluster]:
    with _own_cluster(3, tmp_path_factory.mktemp("three-brokers"), background) as cluster:
        yield cluster


@pytest.fixture
def three_brokers(_three_broker_cluster: BackgroundCluster) -> Iterator[BackgroundCluster]:
    """Three brokers, with replication factor 3 and at least 2 in-sync replicas.

    They are shared by the tests of a module and restored after each test.
    """
    yield _three_broker_cluster
    _three_broker_cluster.restore()


@pytest.fixture(scope="module")
def _one_broker_cluster(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackgroundCluster]:
    with _own_cluster(1, tmp_path_factory.mktemp("one-broker"), background) as cluster:
        yield cluster


@pytest.fixture
def one_broker(_one_broker_cluster: BackgroundCluster) -> Iterator[BackgroundCluster]:
    """One broker that the test may kill, stop and restart; it is not the session's broker.

    It is shared by the tests of a module and restored after each test.
    """
    yield _one_broker_cluster
    _one_broker_cluster.restore()


@contextmanager
def _own_cluster(
    brokers: Literal[1, 3], folder: Path, background: BackgroundLoop
) -> Iterator[BackgroundCluster]:
    settings = StackSettings(
        folder=folder,
        brokers=brokers,
        kafka_heap_mb=256,
        quick_compile=True,
        kafka_bootstrap_servers=None,
    )
    with background.entered(LocalStack(settings, parts=["kafka"])) as stack:
        assert stack.kafka is not None
        _wait_for_groups(stack, background)
        yield BackgroundCluster(background, stack.kafka)


def _wait_for_groups(stack: LocalStack, background: BackgroundLoop) -> None:
    """Wait for consumer groups: a broker that has just started refuses them for a while."""
    from shared.streams.settings import KafkaSettings
    from tools.pipeline.local import wait_for_group_coordinator

    background.call(
        wait_for_group_coordinator(KafkaSettings(bootstrap_servers=stack.kafka_bootstrap_servers))
    )


@contextmanager
def own_database(server_url: str, template: str, background: BackgroundLoop) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    background.call(_execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    background.call(_execute(server_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
