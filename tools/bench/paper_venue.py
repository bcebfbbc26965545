"""Measure the paper venue: orders and activity rows per second, latency of replies, time to start.

It only measures, next to whatever else runs on the machine: nothing passes or fails.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from pydantic import HttpUrl
from rich.console import Console

from shared.clock import utc_now
from shared.domain.money import MICROS, Side
from shared.messages.intents import OrderType
from shared.polymarket.clob import Clob
from shared.polymarket.replies import Accepted, Reply
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, OrderTerms, Wallet
from tools.bench.figures import Latency, compute_latency
from tools.bench.machine import describe_machine, load_average, read_cpu_seconds
from tools.pipeline.parts import venue_part
from tools.pipeline.venue import VenueControl
from tools.stack.local import LocalStack
from tools.stack.npm import package_folder
from tools.stack.settings import REPOSITORY, StackSettings
from tools.stack.supervisor import Running

RESULT = REPOSITORY / "var" / "bench" / "venue.json"
CONNECTIONS = 8
REQUESTED_TRADES_PER_SECOND = 400
"""More than the venue must publish: each trade is at least two rows."""
SUBSCRIPTION = '{"action":"subscribe","subscriptions":[{"topic":"activity","type":"trades"}]}'
RECEIVE_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    orders: int
    leader_trades: int
    starts: int


FULL = Effort(orders=2_000, leader_trades=2_000, starts=3)
QUICK = Effort(orders=80, leader_trades=80, starts=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Seconds until the venue answers: ``venue`` on a running chain, ``with_chain`` including the
    chain's start.
    """

    venue: float
    with_chain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """How many in how many seconds, and how many CPU cores the venue used meanwhile."""

    count: int
    seconds: float
    cores: float
    latency: Latency | None = None

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


async def bench_venue(console: Console, folder: Path, effort: Effort) -> None:
    machine = {
        "at": utc_now().isoformat(timespec="seconds"),
        "load_average_before": load_average(),
        **describe_machine(),
    }
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, load average before {load_average()}"
    )
    starts = [await _start_and_stop(folder / f"start-{number}") for number in range(effort.starts)]
    for start in starts:
        console.print(
            f"start: {start.venue:.2f} s on a running chain, "
            f"{start.with_chain:.2f} s including the chain's start"
        )
    async with AsyncExitStack() as closing:
        running, urls, _ = await _open(folder / "measured", closing)
        control = await closing.enter_async_context(VenueControl(urls["control"]))
        orders = await _measure_orders(running, urls, control, effort)
        console.print(_describe("orders through REST", orders))
        rows = await _measure_rows(running, urls, control, effort)
        console.print(_describe("rows on RTDS", rows))
    result = {
        "machine": machine,
        "starts": [asdict(start) for start in starts],
        "orders": asdict(orders),
        "rtds": asdict(rows),
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    console.print(f"written to {RESULT.relative_to(REPOSITORY)}")


async def _start_and_stop(folder: Path) -> Start:
    async with AsyncExitStack() as closing:
        _, _, start = await _open(folder, closing)
    return start


async def _open(folder: Path, closing: AsyncExitStack) -> tuple[Running, Mapping[str, str], Start]:
    """Start a chain and a venue that run until ``closing`` closes."""
    began = time.perf_counter()
    settings = StackSettings(folder=folder, mining="automine", durable=False, polygon_rpc_url=None)
    stack = await closing.enter_async_context(LocalStack(settings, parts=["chain"]))
    chain_runs = time.perf_counter()
    ready_file = folder / "venue.json"
    npm_folder = package_folder("@gnosis.pm/conditional-tokens-contracts").parents[1]
    running = await stack.supervisor.start(
        venue_part(ready_file, rpc_url=stack.rpc_url, npm_folder=npm_folder, environment={})
    )
    answers = time.perf_counter()
    urls: Mapping[str, str] = orjson.loads(ready_file.read_bytes())["urls"]
    return running, urls, Start(venue=answers - chain_runs, with_chain=answers - began)


async def _measure_orders(
    running: Running, urls: Mapping[str, str], control: VenueControl, effort: Effort
) -> Throughput:
    """Post market orders of $1, signed in advance, one after the other on each connection."""
    each = effort.orders // CONNECTIONS
    accounts = await control.create_accounts("eoa", CONNECTIONS, usdc=str(10 * each))
    markets = (await control.fetch_world())["markets"]
    settings = VenueSettings(clob_url=HttpUrl(urls["clob"]))
    took: list[float] = []
    async with Clob(settings, now=utc_now) as clob:
        batches = []
        for number, account in enumerate(accounts):
            wallet = Wallet(proxy=account.proxy, private_key=account.private_key)
            credentials = await clob.fetch_credentials(wallet)
            batches.append(
                (
                    credentials,
                    _sign_orders(wallet, credentials, markets[number % len(markets)], each),
                )
            )
        used, began = _read_cpu(running), time.perf_counter()
        await asyncio.gather(
            *(_send(clob, credentials, bodies, took) for credentials, bodies in batches)
        )
        seconds = time.perf_counter() - began
    return Throughput(
        count=len(took),
        seconds=seconds,
        cores=(_read_cpu(running) - used) / seconds,
        latency=compute_latency(took),
    )


def _sign_orders(
    wallet: Wallet, credentials: Credentials, market: Mapping[str, Any], count: int
) -> list[str]:
    now_ms = time.time_ns() // 1_000_000
    terms = [
        OrderTerms(
            token_id=market["token_ids"][salt % 2],
            side=Side.BUY,
            order_type=OrderType.FAK,
            usdc=MICROS,
            shares=0,
            limit_price=Decimal("0.99"),
            tick_size=Decimal(market["tick_size"]),
            neg_risk=bool(market.get("neg_risk")),
            salt=salt,
            timestamp_ms=now_ms,
        )
        for salt in range(1, count + 1)
    ]
    return [wallet.sign(each, owner=credentials.key).body for each in terms]


async def _send(
    clob: Clob, credentials: Credentials, bodies: Sequence[str], took: list[float]
) -> None:
    for body in bodies:
        began = time.perf_counter()
        reply = await clob.post_order(body, credentials)
        took.append((time.perf_counter() - began) * 1_000)
        _require_accepted(reply)


def _require_accepted(reply: Reply) -> None:
    if not isinstance(reply, Accepted):
        raise RuntimeError(f"an order of the benchmark was not accepted: {reply}")


async def _measure_rows(
    running: Running, urls: Mapping[str, str], control: VenueControl, effort: Effort
) -> Throughput:
    """Count the activity rows that one client receives while leaders trade as fast as they can."""
    async with aiohttp.ClientSession() as http, http.ws_connect(urls["rtds"]) as socket:
        await socket.send_str(SUBSCRIPTION)
        await socket.send_str("PING")
        await socket.receive()
        used = _read_cpu(running)
        await control.start_leaders(
            trades=effort.leader_trades, per_second=str(REQUESTED_TRADES_PER_SECOND)
        )
        received: list[float] = []
        async with asyncio.timeout(RECEIVE_TIMEOUT_S):
            while (
                not (await _receive_rows(socket, received))
                or (await control.fetch_stats())["trading"]
            ):
                pass
        cores = (_read_cpu(running) - used) / (received[-1] - received[0])
    return Throughput(count=len(received), seconds=received[-1] - received[0], cores=cores)


async def _receive_rows(socket: aiohttp.ClientWebSocketResponse, received: list[float]) -> bool:
    """Receive rows until none comes for half a second. Returns whether any has come so far."""
    while True:
        try:
            message = await socket.receive(timeout=0.5)
        except TimeoutError:
            return bool(received)
        if message.data:
            received.append(time.perf_counter())


def _read_cpu(running: Running) -> float:
    return read_cpu_seconds({"venue": running.pid})["venue"]


def _describe(name: str, throughput: Throughput) -> str:
    text = (
        f"{name}: {throughput.per_second:.0f} per second "
        f"({throughput.count} in {throughput.seconds:.2f} s, "
        f"the venue used {throughput.cores:.2f} cores)"
    )
    if throughput.latency is None:
        return text
    times = throughput.latency
    return f"{text}; p50 {times.p50:.1f} ms, p95 {times.p95:.1f} ms, p99 {times.p99:.1f} ms"
