"""Whatever a chain node answers is read within its bounds, or is Transient: no other error leaves
the reads, and the feeds go on.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import note

from services.executor.adapters.chain import ExchangeLogs
from services.ingest.adapters import ChainFeed, ChainHoldings
from services.tx_monitor.adapters import FillFeed, ReceiptFeed
from services.tx_monitor.decisions.watches import Watch
from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, LIVE_EXCHANGES
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.chain.wallet_balances import MAX_BALANCE, WalletBalances
from shared.db.leased_wallets import LeaseId
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.transactions import Purpose
from shared.streams.codec import encode as encode_message
from tests.builders import LEADER, NOON, PROXY, a_fill
from tests.feeds import PARTITIONS, FakePartitionCursors, Instance, MonitorInstance
from tests.nodes import ChainModel, a_fill_log, a_receipt, a_transaction_hash, as_list
from tests.orders import an_order
from tests.unit.fuzz.fuzzing import TRIED_INPUTS, fuzzed
from tests.unit.fuzz.mutations import SECRET, mutate

pytestmark = pytest.mark.timeout(3600)

HEAD = 40
TOKEN, V3_TOKEN = 10**70, 5 << 104 | 7
STATUSES = (200, 200, 200, 200, 400, 403, 413, 429, 500, 503)
MAX_BIGINT = 2**63 - 1


class MutatingNode(Rpc):
    """Answers as a chain does, with mutated texts."""

    def __init__(self, rng: Random) -> None:
        super().__init__(f"http://127.0.0.1:1/{SECRET}")
        self._rng = rng
        logs = [
            a_fill_log(1, maker=wallet, block=block, exchange=EXCHANGE_V2)
            for wallet, block in ((LEADER, 38), (PROXY, 38), (LEADER, 39))
        ]
        self._chain = ChainModel(
            head=HEAD,
            finalized=HEAD - 1,
            logs=logs,
            receipts={a_transaction_hash(1): a_receipt(1, block=38, logs=logs)},
        )

    async def _post(self, payload: object, *, what: str) -> tuple[int, bytes]:
        answers = [
            {"jsonrpc": "2.0", "id": call["id"], **self._answer(call)} for call in as_list(payload)
        ]
        valid: Any = answers if isinstance(payload, list) else answers[0]
        text = mutate(self._rng, [valid])
        if self._rng.randint(0, 3) == 0:
            text = _change_hex(self._rng, text)
        note(text)
        return self._rng.choice(STATUSES), text.encode(errors="replace")

    def _answer(self, call: Mapping[str, Any]) -> Mapping[str, Any]:
        if call["method"] != "eth_call":
            return self._chain(call)
        data = call["params"][0]["data"]
        if "to" not in call["params"][0]:
            words = [(7).to_bytes(32)] * self._rng.choice((7, 8, 9))
            return {"result": "0x" + encode(["uint256", "bytes[]"], [HEAD, words]).hex()}
        if data.startswith("0x4e1273f4"):  # balanceOfBatch
            return {"result": "0x" + encode(["uint256[]"], [[7] * self._rng.randint(0, 3)]).hex()}
        return {"result": "0x" + (7).to_bytes(32).hex()}


def _change_hex(rng: Random, text: str) -> str:
    """The text with a few of its digits changed: they stay numbers, of another size."""
    digits = list(text)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(digits)) if digits else 0
        if digits and digits[at] in "0123456789abcdef":
            digits[at] = rng.choice("0f8")
    return "".join(digits)


async def read_or_fail(read: Callable[[], Awaitable[Any]]) -> Any:
    """What was read; None where the node failed, without its key in the text."""
    text = ""
    try:
        return await read()
    except Transient as error:
        text = f"{error} {error!r}"
    assert SECRET not in text
    assert "\x00" not in text
    return None


@fuzzed
async def test_mutated_answers_are_read_within_their_bounds_or_are_transient(rng: Random) -> None:
    chain = ChainClient(MutatingNode(rng), spenders=(EXCHANGE_V2, EXCHANGE_V3))
    tx_hashes = [a_transaction_hash(1), a_transaction_hash(2)]
    reads: list[Callable[[], Awaitable[Any]]] = [
        chain.fetch_latest_block,
        chain.fetch_finalized_block,
        partial(chain.fetch_blocks, [38, 39]),
        partial(chain.fetch_block_hashes, [38, 39, HEAD + 1]),
        partial(chain.fetch_receipts, tx_hashes),
        partial(chain.fetch_receipts_or_failures, tx_hashes),
        partial(chain.fetch_order_fills, 30, HEAD, [LEADER, PROXY]),
        partial(
            chain.fetch_shares_and_receipts, LEADER, TOKEN, block_number=38, tx_hashes=tx_hashes
        ),
        partial(chain.fetch_shares_at, [(LEADER, TOKEN), (PROXY, V3_TOKEN)], block_number=38),
        partial(chain.fetch_balances_or_failures, [(LEADER, (TOKEN, V3_TOKEN)), (PROXY, ())]),
        partial(chain.fetch_balances, PROXY, [TOKEN]),
    ]
    read = rng.choice(reads)
    note(str(read))

    result = await read_or_fail(read)

    TRIED_INPUTS["answers of a node"] += 1
    if isinstance(result, WalletBalances):
        assert 0 <= result.collateral <= MAX_BALANCE
        assert all(0 <= shares <= MAX_BALANCE for shares in result.shares_by_token.values())
        assert 0 <= result.block_number <= MAX_BIGINT
    for each in result if isinstance(result, list) else ():
        if hasattr(each, "timestamp"):
            assert datetime.fromtimestamp(each.timestamp, UTC).year
        if hasattr(each, "block_number"):
            assert 0 <= each.block_number <= MAX_BIGINT
        if isinstance(each, int):
            assert 0 <= each <= MAX_BALANCE


class Cursors(FakePartitionCursors):
    """Positions that are all at block 36."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(range(PARTITIONS), 1), single=36)

    async def save(self, leases: Sequence[LeaseId], block: int) -> None:
        assert 0 <= block <= MAX_BIGINT
        await super().save(leases, block)


async def no_refresh() -> None:
    """The followers stay the same."""


class OpenWatches:
    """Two watches, one of them in a block."""

    async def load_open(self) -> list[Watch]:
        watch = Watch(
            request_id="request-1",
            proxy=PROXY,
            transaction_hash=a_transaction_hash(1),
            purpose=Purpose.SETTLEMENT,
            intent_id="intent-1",
        )
        return [watch]


@fuzzed
async def test_mutated_answers_end_no_feed_of_the_chain(rng: Random) -> None:
    chain = ChainClient(MutatingNode(rng))

    async def publish(message: Message) -> None:
        assert encode_message(message).value
        fills = json.loads(encode_message(message).value).get("fills", ())
        assert all(0 <= fill["shares"] <= MAX_BALANCE for fill in fills)

    chain_feed = ChainFeed(
        chain,
        Cursors(),
        leaders=Instance(lambda: {LEADER}).shared,
        now=lambda: NOON,
        poll_interval=timedelta(seconds=1),
        lookback_blocks=4,
        first_lookback_blocks=4,
    )
    receipt_feed = ReceiptFeed(
        OpenWatches(),  # type: ignore[arg-type]
        chain,
        exchanges=LIVE_EXCHANGES,
        owns=lambda _: True,
        now=lambda: NOON,
        poll_interval=timedelta(seconds=1),
        batch_size=10,
        give_up_after=timedelta(hours=1),
    )
    fill_feed = FillFeed(
        chain,
        Cursors(),
        followers=MonitorInstance(lambda: {PROXY}).leased,
        refresh_followers=no_refresh,
        poll_interval=timedelta(seconds=1),
        first_lookback_blocks=4,
    )
    order = an_order()
    await read_or_fail(partial(chain_feed.read_new_blocks, publish))
    await read_or_fail(partial(fill_feed.read_final_blocks, publish))
    await read_or_fail(partial(receipt_feed.poll, publish))
    await read_or_fail(
        partial(
            ChainHoldings(chain, exchanges=LIVE_EXCHANGES).fetch_held_before,
            a_fill(transaction_hash=a_transaction_hash(1)),
            [],
        )
    )
    await read_or_fail(partial(ExchangeLogs(chain, now=lambda: order.signed_at).fetch_fill, order))

    TRIED_INPUTS["feeds of the chain"] += 1
