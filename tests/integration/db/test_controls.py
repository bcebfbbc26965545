"""Follows and modes: append-only, known without a restart, and unusable without a confirmation."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.errors import CommandError
from cli.following import save_follow
from shared.db.controls import ControlsWatch, load_controls, save_follows, save_mode
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.settings import ControlsSettings, DatabaseSettings
from shared.domain.errors import Transient
from shared.domain.follows import GLOBAL, FollowCycle, Mode, follower_scope
from shared.domain.terms import EndMode, ExitMode
from shared.testing.waiting import eventually
from tests.builders import LEADER, NOON, OTHER_PROXY, PROXY, a_follow, seconds, usdc
from tests.fakes import Clock
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

WITHOUT_POLLING = ControlsSettings(
    refresh_interval=timedelta(hours=1), max_age=timedelta(seconds=5)
)
"""Only a notification shows a change."""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


@pytest.fixture
async def watch(engine: AsyncEngine) -> AsyncIterator[ControlsWatch]:
    """A watch that is updated by notifications only."""
    watch = ControlsWatch(engine, WITHOUT_POLLING, now=Clock(NOON))
    running = asyncio.create_task(watch(None))
    await eventually(lambda: watch.is_confirmed)
    yield watch
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_empty_database_has_no_follows_and_every_mode_is_active(
    engine: AsyncEngine,
) -> None:
    controls = await load_controls(engine)

    assert (controls.version, controls.follows_for(LEADER)) == (0, ())
    assert controls.mode(leader=LEADER, proxy=PROXY) is Mode.ACTIVE


async def test_a_follow_is_loaded_as_it_was_saved_with_its_new_version(
    engine: AsyncEngine,
) -> None:
    version = await save_follows(engine, [a_follow()], by="me", change="follow")

    (follow,) = (await load_controls(engine)).follows_for(LEADER)

    assert follow == a_follow(version=version)


async def test_a_follow_that_closes_a_cycle_is_not_saved(engine: AsyncEngine) -> None:
    back = a_follow(follow_id="follow-2", leader=PROXY, proxy=LEADER)
    first = await save_follows(engine, [a_follow()], by="me", change="follow")

    with pytest.raises(FollowCycle, match=f"{PROXY} -> {LEADER} -> {PROXY}"):
        await save_follows(engine, [back], by="me", change="follow back")
    with pytest.raises(
        CommandError, match=f"{PROXY} -> {LEADER} -> {PROXY}; `slipstream unfollow`"
    ):
        await save_follow(engine, back)
    assert (await load_controls(engine)).version == first

    await save_follows(engine, [a_follow(active=False)], by="me", change="unfollow")
    await save_follows(engine, [back], by="me", change="follow back")
    assert [each.proxy for each in (await load_controls(engine)).follows_for(PROXY)] == [LEADER]


async def test_every_version_can_be_loaded_again(engine: AsyncEngine) -> None:
    first = await save_follows(
        engine,
        [a_follow(), a_follow(follow_id="follow-2", proxy=OTHER_PROXY)],
        by="me",
        change="follow",
    )
    second = await save_mode(engine, GLOBAL, Mode.HALTED, by="me")
    third = await save_follows(
        engine,
        [a_follow(max_usdc=usdc(9)), a_follow(follow_id="follow-2", active=False)],
        by="me",
        change="less",
    )
    fourth = await save_mode(engine, GLOBAL, Mode.ACTIVE, by="me")

    as_of = {
        version: await load_controls(engine, version)
        for version in (0, first, second, third, fourth)
    }

    assert [
        len(as_of[version].follows_for(LEADER)) for version in (0, first, second, third, fourth)
    ] == [0, 2, 2, 1, 1]
    assert [
        as_of[version].mode(leader=LEADER, proxy=PROXY)
        for version in (first, second, third, fourth)
    ] == [
        Mode.ACTIVE,
        Mode.HALTED,
        Mode.HALTED,
        Mode.ACTIVE,
    ]
    assert [as_of[version].follows_for(LEADER)[0].max_usdc for version in (first, third)] == [
        usdc(100),
        usdc(9),
    ]


async def test_concurrent_changes_get_versions_of_their_own_and_are_all_recorded(
    engine: AsyncEngine,
) -> None:
    versions = await asyncio.gather(
        *(save_mode(engine, f"follower:{number}", Mode.HALTED, by="me") for number in range(20))
    )

    async with transaction(engine) as connection:
        recorded = await fetch_rows(
            connection, "select version, made_by, change from control.versions order by version"
        )
    assert sorted(versions) == list(range(1, 21)) == [row.version for row in recorded]
    assert {row.made_by for row in recorded} == {"me"}


async def test_a_changed_mode_is_known_by_its_notification_without_a_restart(
    engine: AsyncEngine, watch: ControlsWatch
) -> None:
    await save_mode(engine, follower_scope(PROXY), Mode.HALTED, by="me")

    await eventually(lambda: watch.current().mode(leader=LEADER, proxy=PROXY) is Mode.HALTED)


async def test_a_new_leader_is_known_without_a_restart(
    engine: AsyncEngine, watch: ControlsWatch
) -> None:
    assert LEADER not in watch.leaders()

    await save_follows(engine, [a_follow()], by="me", change="follow")

    await eventually(lambda: LEADER in watch.leaders())


async def test_a_change_whose_notification_was_lost_is_known_by_polling(
    engine: AsyncEngine,
) -> None:
    watch = ControlsWatch(
        engine, ControlsSettings(refresh_interval=timedelta(milliseconds=50)), now=Clock(NOON)
    )
    running = asyncio.create_task(watch(None))
    await eventually(lambda: watch.is_confirmed)

    async with transaction(engine) as connection:
        await fetch_rows(
            connection,
            "insert into control.modes (scope, version, mode) "
            "values ('global', 1, 'halted') returning 1",
        )
        await fetch_rows(
            connection,
            "insert into control.versions (version, made_by, change) "
            "values (1, 'me', 'by hand') returning 1",
        )

    await eventually(lambda: watch.current().mode(leader=LEADER, proxy=PROXY) is Mode.HALTED)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_listener_whose_connection_is_cut_listens_again(engine: AsyncEngine) -> None:
    watch = ControlsWatch(
        engine, ControlsSettings(refresh_interval=timedelta(milliseconds=50)), now=Clock(NOON)
    )
    running = asyncio.create_task(watch(None))
    cut = (
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and query ilike 'listen%'"
    )

    async def is_cut() -> bool:
        async with transaction(engine) as connection:
            return bool(await fetch_rows(connection, cut))

    await eventually(is_cut)
    await eventually(is_cut, what="a new listener")

    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_controls_that_were_not_confirmed_in_time_are_not_returned(
    engine: AsyncEngine,
) -> None:
    clock = Clock(NOON)
    watch = ControlsWatch(engine, WITHOUT_POLLING, now=clock)
    with pytest.raises(Transient, match="not been read"):
        watch.current()
    await watch.refresh()

    clock.now = NOON + seconds(5)
    assert watch.is_ready
    assert watch.current().version == 0
    clock.now += timedelta(microseconds=1)

    assert not watch.is_ready
    with pytest.raises(Transient, match="not confirmed"):
        watch.current()
    assert watch.known().version == 0
    await watch.refresh()
    assert watch.current().version == 0


async def test_an_unreachable_database_confirms_nothing(engine: AsyncEngine) -> None:
    unreachable = open_engine(
        DatabaseSettings.model_validate({"url": "postgresql://nobody@127.0.0.1:1/none"})
    )
    watch = ControlsWatch(unreachable, WITHOUT_POLLING, now=Clock(NOON))

    with pytest.raises(Transient):
        await watch.refresh()

    assert not watch.is_confirmed
    await unreachable.dispose()


async def test_a_redelivery_is_judged_by_the_controls_of_its_time(engine: AsyncEngine) -> None:
    first = await save_follows(engine, [a_follow()], by="me", change="follow")
    await save_follows(engine, [a_follow(active=False)], by="me", change="unfollow")
    watch = ControlsWatch(engine, WITHOUT_POLLING, now=Clock(NOON))
    await watch.refresh()

    assert watch.current().follows_for(LEADER) == ()
    assert len((await watch.as_of(first)).follows_for(LEADER)) == 1


async def test_a_follow_that_kept_its_shares_has_begun_again(engine: AsyncEngine) -> None:
    """A change of its terms does not begin it again, nor what did not keep its shares."""
    kept, sold = a_follow(), a_follow(follow_id="follow-2", proxy=OTHER_PROXY)
    versions = [
        await save_follows(engine, [kept, sold], by="me", change="follow"),
        await save_follows(
            engine,
            [replace(kept, active=False), replace(sold, active=False, at_end=EndMode.CLOSE_OUT)],
            by="me",
            change="unfollow",
        ),
    ]
    ended = await load_controls(engine)
    versions += [
        await save_follows(engine, [kept, sold], by="me", change="follow"),
        await save_follows(engine, [replace(kept, exits=ExitMode.ALL)], by="me", change="follow"),
    ]
    async with transaction(engine) as connection:
        made = await fetch_rows(connection, "select version, made_at from control.versions")
    made_at = {row.version: row.made_at for row in made}

    resumed = (await load_controls(engine)).resumed_at_by_follow

    assert ended.resumed_at_by_follow == {}
    assert resumed == {"follow-1": made_at[versions[2]]}
    assert (await load_controls(engine, versions[1])).resumed_at_by_follow == {}


async def test_the_version_of_a_close_out_is_that_of_its_mode(engine: AsyncEngine) -> None:
    await save_mode(engine, GLOBAL, Mode.CLOSING, by="me")
    version = await save_mode(engine, follower_scope(PROXY), Mode.CLOSING, by="me")
    await save_follows(engine, [a_follow()], by="me", change="follow")

    closing = await load_controls(engine)

    assert closing.closing_version(leader=LEADER, proxy=PROXY) == version
    assert closing.closing_version(leader=LEADER, proxy=OTHER_PROXY) == version - 1
    await save_mode(engine, GLOBAL, Mode.ACTIVE, by="me")
    opened = await load_controls(engine)
    assert opened.closing_version(leader=LEADER, proxy=OTHER_PROXY) == 0
