"""Records what a venue serves in public, the paper venue or the live one, into a file."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import aiohttp
import orjson

from services.paper_venue.http.payloads import Json
from services.paper_venue.recordings.recording import (
    Entry,
    RecordingError,
    Source,
    build_entry_line,
    build_header_line,
)

_TOKENS_PER_SOCKET = 400
"""The live venue sends no initial books to a connection that subscribes to more than 500."""
_TOKENS_PER_REQUEST = 20
_MARKET_PING_S = 10
_RTDS_PING_S = 5
_RECONNECT_DELAY_S = 1
_RTDS_SUBSCRIPTION: Json = {
    "action": "subscribe",
    "subscriptions": [{"topic": "activity", "type": "trades"}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """A venue's addresses: http(s) for ``clob`` and ``gamma``, ws(s) for the two sockets."""

    clob: str
    gamma: str
    market_ws: str
    rtds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Channel:
    """One socket, with what to subscribe to and how often to send PING."""

    source: Source
    url: str
    subscription: Json
    ping_s: int


class Recorder:
    """Writes a recording into an open file. Each line is flushed at once."""

    def __init__(
        self,
        file: BinaryIO,
        http: aiohttp.ClientSession,
        *,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.counts: dict[Source, int] = dict.fromkeys(Source, 0)
        self._file = file
        self._http = http
        self._now_ms = now_ms
        self._sleep = sleep
        self._tokens: frozenset[str] = frozenset()

    async def run(self, addresses: Addresses, tokens: Sequence[str]) -> None:
        """Record the markets of these tokens until cancelled; without tokens, the markets that
        Gamma lists first. Raises: RecordingError.
        """
        self._write_line(build_header_line(self._now_ms()))
        rows = await self._record_markets(addresses, tokens)
        self._tokens = frozenset(token for row in rows for token in parse_tokens(row))
        if not self._tokens:
            raise RecordingError(
                f"{addresses.gamma} lists no market to record: name tokens with --token"
            )
        listed = sorted(self._tokens)
        groups = [
            listed[start : start + _TOKENS_PER_SOCKET]
            for start in range(0, len(listed), _TOKENS_PER_SOCKET)
        ]
        channels = [_build_market_channel(addresses.market_ws, group) for group in groups]
        channels.append(
            _Channel(
                source=Source.RTDS,
                url=addresses.rtds,
                subscription=_RTDS_SUBSCRIPTION,
                ping_s=_RTDS_PING_S,
            )
        )
        listening = [asyncio.create_task(self._listen(channel)) for channel in channels]
        try:
            await self._record_books(addresses.clob, listed)
            await asyncio.gather(*listening)
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)

    def _write(self, source: Source, payload: Any) -> None:
        self.counts[source] += 1
        self._write_line(build_entry_line(Entry(at=self._now_ms(), source=source, payload=payload)))

    def _write_line(self, line: bytes) -> None:
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise RecordingError(
                f"the recording cannot be written ({error.strerror}); what it holds can be played"
            ) from error

    async def _record_markets(self, addresses: Addresses, tokens: Sequence[str]) -> list[Json]:
        """Record each market's Gamma row and CLOB answer, and return the Gamma rows."""
        rows: list[Json] = []
        for start in range(0, len(tokens), _TOKENS_PER_REQUEST) if tokens else (0,):
            query = [
                ("clob_token_ids", token) for token in tokens[start : start + _TOKENS_PER_REQUEST]
            ]
            answer = await self._fetch(
                f"{addresses.gamma}/markets/keyset", [*query, ("limit", "100")]
            )
            rows += [row for row in answer["markets"] if parse_tokens(row)]
        for row in rows:
            self._write(Source.GAMMA, row)
            # Gamma spells the condition ids of v2 markets differently, so take the CLOB's spelling.
            market = await self._fetch(
                f"{addresses.clob}/markets-by-token/{parse_tokens(row)[0]}", []
            )
            self._write(
                Source.CLOB,
                await self._fetch(f"{addresses.clob}/clob-markets/{market['condition_id']}", []),
            )
        return rows

    async def _record_books(self, clob: str, tokens: Sequence[str]) -> None:
        for token in tokens:
            self._write(Source.BOOK, await self._fetch(f"{clob}/book", [("token_id", token)]))

    async def _fetch(self, url: str, query: Sequence[tuple[str, str]]) -> Json:
        try:
            async with self._http.get(url, params=query) as response:
                body = await response.read()
                if response.status != 200:
                    raise RecordingError(
                        f"{url} answered {response.status}: {body[:200].decode(errors='replace')}"
                    )
                answer: Json = orjson.loads(body)
                return answer
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise RecordingError(
                f"{url} cannot be reached ({type(error).__name__}): is a venue running there?"
            ) from error

    async def _listen(self, channel: _Channel) -> None:
        """Read one socket for ever. A lost connection is recorded and opened again."""
        while True:
            try:
                async with self._http.ws_connect(channel.url, max_msg_size=1 << 24) as socket:
                    await self._read_frames(socket, channel)
                reason = f"closed with {socket.close_code}"
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = type(error).__name__
            self._write(Source.RECORDER, {"lost": channel.source, "reason": reason})
            await self._sleep(_RECONNECT_DELAY_S)

    async def _read_frames(
        self, socket: aiohttp.ClientWebSocketResponse, channel: _Channel
    ) -> None:
        await socket.send_str(orjson.dumps(channel.subscription).decode())
        pinging = asyncio.create_task(self._ping(socket, channel.ping_s))
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._on_text(channel.source, message.data)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    async def _ping(self, socket: aiohttp.ClientWebSocketResponse, every_s: int) -> None:
        while True:
            await self._sleep(every_s)
            await socket.send_str("PING")

    def _on_text(self, source: Source, text: str) -> None:
        if not text.startswith(("{", "[")):  # keep-alive: PONG, or an empty text
            return
        frame = orjson.loads(text)
        if source is not Source.RTDS or _parse_asset(frame) in self._tokens:
            self._write(source, frame)


def parse_tokens(row: Mapping[str, Any]) -> list[str]:
    """The tokens of a Gamma row, YES first. v1 rows have them as JSON inside a string
    (``clobTokenIds``), v2 rows as a list (``positionIds``).
    """
    listed = row.get("clobTokenIds") or row.get("positionIds") or "[]"
    return [str(token) for token in (orjson.loads(listed) if isinstance(listed, str) else listed)]


def _parse_asset(frame: Any) -> str | None:
    payload = frame.get("payload") if isinstance(frame, dict) else None
    return str(payload.get("asset")) if isinstance(payload, dict) else None


def _build_market_channel(url: str, tokens: Sequence[str]) -> _Channel:
    subscription = {"type": "market", "assets_ids": list(tokens), "custom_feature_enabled": True}
    return _Channel(source=Source.MARKET, url=url, subscription=subscription, ping_s=_MARKET_PING_S)
