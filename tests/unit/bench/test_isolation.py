"""The figures of the isolation benchmark, and what its venue answers for the three followers."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.snapshots import build_snapshot, parse_snapshot
from shared.chain.wallet_balances import WalletBalances, WalletQuery
from shared.domain.ids import follow_id
from shared.streams.partitioning import Partitioner
from tools.bench.figures import evaluate_group
from tools.bench.followers import (
    Audience,
    build_copy_intended,
    build_leaders,
    build_wallets,
    generate_trades,
)
from tools.bench.isolation import FULL, QUICK, Phase, Roles, build_table
from tools.bench.node import LARGE_AMOUNT, answer_snapshot
from tools.bench.systems import PARTITIONS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVERYBODY = Audience(followers=3)


def test_of_a_group_its_own_copies_count_and_no_others() -> None:
    group = evaluate_group({1: 10.0, 2: 11.0}, [(1, 10.010), (7, 10.5), (1, 10.9)])

    assert (group.expected, group.arrived) == (2, 1)
    assert group.latency is not None
    assert group.latency.maximum == pytest.approx(10)


@given(st.sets(st.integers(10, 20)))
def test_a_group_of_which_nothing_arrived_has_no_latency(others: set[int]) -> None:
    group = evaluate_group({1: 10.0, 2: 11.0}, [(other, 12.0) for other in others])

    assert (group.expected, group.arrived, group.latency) == (2, 0, None)


@pytest.mark.parametrize("effort", [FULL, QUICK])
def test_some_of_the_healthy_followers_are_in_the_partition_of_the_queue(effort: object) -> None:
    """Otherwise the benchmark would not show what a full partition costs."""
    roles = Roles.build(effort.healthy)  # type: ignore[attr-defined]
    partition = Partitioner().partition

    near = [
        number
        for number, proxy in enumerate(roles.healthy)
        if partition(proxy.encode(), PARTITIONS) == partition(roles.queued.encode(), PARTITIONS)
    ]
    assert roles.neighbours() == set(near)
    assert 1 <= len(near) < len(roles.healthy)
    assert len({*roles.healthy, roles.hanging, roles.broke, roles.queued}) == (
        len(roles.healthy) + 3
    )


def test_each_queued_intent_is_of_the_follow_and_has_an_id_of_its_own() -> None:
    proxies = [proxy for proxy, _ in build_wallets(3)]
    leader = build_leaders([EVERYBODY], proxies)[EVERYBODY][0]

    queue = [build_copy_intended(leader, 2, proxies[2], number, NOW) for number in range(10)]

    assert {each.intent.follow_id for each in queue} == {
        follow_id(leader=leader.address, proxy=proxies[2])
    }
    assert {each.key() for each in queue} == {proxies[2].encode()}
    assert len({each.intent_id for each in queue}) == 10


def test_a_trade_is_dated_when_it_is_published() -> None:
    alone = Audience(followers=1)
    leaders = build_leaders([alone], [build_wallets(1)[0][0]])[alone]
    trade = next(generate_trades(leaders, first_number=0, now=lambda: NOW))
    later = NOW + timedelta(minutes=2)

    payload = orjson.loads(trade.build_frame(later))["payload"]

    assert payload["timestamp"] == int(later.timestamp())


def test_only_the_broke_wallets_have_no_money() -> None:
    rich, broke, also_rich = (proxy for proxy, _ in build_wallets(3))

    read = read_balances([rich, broke, also_rich], without=[broke])

    assert [each.collateral for each in read] == [LARGE_AMOUNT, 0, LARGE_AMOUNT]
    assert {each.allowance_by_spender[LIVE_EXCHANGES[0]] for each in read} == {LARGE_AMOUNT}
    assert all(each.collateral for each in read_balances([rich, also_rich], without=[broke]))


def read_balances(wallets: list[str], *, without: list[str]) -> list[WalletBalances]:
    queries = [WalletQuery(LIVE_EXCHANGES, wallet, ()) for wallet in wallets]
    calls = [call for query in queries for call in query.build_calls()]
    answer = answer_snapshot([{"data": build_snapshot(calls)}], broke=without)
    block, answers = parse_snapshot(answer, len(calls))
    each = len(answers) // len(wallets)
    return [
        query.parse(block, answers[number * each : (number + 1) * each])
        for number, query in enumerate(queries)
    ]


def test_a_run_without_a_confirmation_is_shown_without_figures() -> None:
    alone = Phase(
        title="alone",
        copies={"all": evaluate_group({1: 10.0}, [(1, 10.02)])},
        confirmed=None,
        cpu_seconds={},
        judged=0,
    )
    blocked = Phase(
        title="beside the three",
        copies={"all": evaluate_group({1: 10.0}, [])},
        confirmed=None,
        cpu_seconds={},
        judged=0,
    )

    columns = {
        str(column.header): list(column.cells) for column in build_table([alone, blocked]).columns
    }

    assert columns["p50 ms"] == ["20.0", "-", "-", "-"]
    assert columns["arrived"] == ["1 of 1", "", "0 of 1", ""]
    assert columns["p99 / alone"] == ["1.00", "-", "-", "-"]
