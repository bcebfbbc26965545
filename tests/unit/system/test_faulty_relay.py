"""The relay does to a connection what it is told, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shared.testing.waiting import eventually
from tests.system.faulty_relay import BLACK_HOLE, HOST, NO_FAULTS, Faults, FaultyRelay

HELLO = b"hello"


@pytest.fixture
async def relay() -> AsyncIterator[FaultyRelay]:
    """In front of a server that sends back what it receives."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    try:
        async with FaultyRelay(target_port=server.sockets[0].getsockname()[1]) as relay:
            yield relay
    finally:
        server.close()
        await server.wait_closed()


class Client:
    """A connection through the relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, data: bytes = HELLO) -> bytes:
        """Send, and return the answer, which is as long."""
        self.send(data)
        return await self._reader.readexactly(len(data))

    def send(self, data: bytes = HELLO) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()


Connect = Callable[[], Awaitable[Client]]


@pytest.fixture
async def connect(relay: FaultyRelay) -> AsyncIterator[Connect]:
    clients: list[Client] = []

    async def open_client() -> Client:
        clients.append(Client(*await asyncio.open_connection(HOST, relay.port)))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


async def test_without_faults_everything_passes(relay: FaultyRelay, connect: Connect) -> None:
    client = await connect()
    large = bytes(300_000)

    assert await client.ask(large) == large
    assert relay.connections == 1

    client.close()
    await eventually(lambda: relay.connections == 0)


async def test_a_black_hole_accepts_and_answers_nothing(
    relay: FaultyRelay, connect: Connect
) -> None:
    before = await connect()
    await before.ask()
    relay.faults = BLACK_HOLE
    during = await connect()
    asked = [asyncio.create_task(each.ask()) for each in (before, during)]
    await eventually(lambda: relay.swallowed_bytes == 2 * len(HELLO))
    relay.faults = NO_FAULTS

    assert await (await connect()).ask() == HELLO

    assert not any(task.done() for task in asked), "what was swallowed does not come later"
    for task in asked:
        task.cancel()


async def test_a_swallowed_answer_was_an_answer_to_a_request_that_arrived(
    relay: FaultyRelay, connect: Connect
) -> None:
    relay.faults = Faults(swallows_answers=True)
    client = await connect()
    client.send()

    await eventually(lambda: relay.swallowed_bytes == len(HELLO))


async def test_a_reset_ends_open_connections_and_leaves_new_ones(
    relay: FaultyRelay, connect: Connect
) -> None:
    client = await connect()
    await client.ask()

    relay.reset()

    with pytest.raises(ConnectionResetError):
        await client.ask()
    assert await (await connect()).ask() == HELLO


async def test_a_connection_is_cut_after_so_many_bytes(
    relay: FaultyRelay, connect: Connect
) -> None:
    relay.faults = Faults(cut_after_bytes=8)
    client = await connect()
    assert await client.ask() == HELLO

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.ask()


async def test_while_it_refuses_nobody_connects(relay: FaultyRelay, connect: Connect) -> None:
    relay.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect()

    await relay.listen()

    assert await (await connect()).ask() == HELLO


@pytest.mark.parametrize("faults", [Faults(latency_s=0.1), Faults(bytes_per_second=50)])
async def test_what_is_slow_is_held_up_and_arrives(
    relay: FaultyRelay, connect: Connect, faults: Faults
) -> None:
    delays: list[float] = []

    async def hold_up(seconds: float) -> None:
        delays.append(seconds)

    relay.hold_up = hold_up
    client = await connect()
    relay.faults = faults

    assert await client.ask() == HELLO

    assert delays == [0.1, 0.1], "request and answer"


async def test_one_fault_is_changed_and_the_others_stay(
    relay: FaultyRelay, connect: Connect
) -> None:
    relay.faults = Faults(latency_s=0.001)
    relay.change(swallows_answers=True)
    assert relay.faults == Faults(latency_s=0.001, swallows_answers=True)

    async with relay.with_faults(NO_FAULTS):
        assert await (await connect()).ask() == HELLO
