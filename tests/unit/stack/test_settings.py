"""Settings, ports and states of the local stack, also with wrong values."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tools.stack.commands import load_running_state
from tools.stack.errors import PartDied, StackError, describe_exit, read_tail
from tools.stack.local import folder_lock
from tools.stack.ports import CANDIDATES, HOST, Ports, accepts_connections
from tools.stack.postgres import (
    WORKLOAD_SETTINGS,
    create_shared_data_folder,
    database_url,
    find_abandoned_data,
    is_reachable_by_all,
    server_settings,
)
from tools.stack.settings import StackSettings
from tools.stack.state import PartState, StackState, read_state, remove_state, write_state


def test_a_wrong_variable_is_reported_with_its_value_and_the_allowed_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STACK_KAFKA_PORT", "ninety")
    monkeypatch.setenv("STACK_BROKERS", "2")

    with pytest.raises(StackError) as refused:
        StackSettings.from_environment()

    assert "STACK_KAFKA_PORT is 'ninety': input should be a valid integer" in str(refused.value)
    assert "STACK_BROKERS is '2': input should be 1 or 3" in str(refused.value)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")

    assert StackSettings.from_environment().database_url is None


def test_the_cache_folder_is_the_configured_one_or_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SLIPSTREAM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    assert StackSettings.from_environment().cache_folder == Path.home() / ".cache" / "slipstream"
    monkeypatch.setenv("XDG_CACHE_HOME", "elsewhere")
    assert StackSettings.from_environment().cache_folder == Path("elsewhere/slipstream")
    monkeypatch.setenv("SLIPSTREAM_CACHE", "here")
    assert StackSettings.from_environment().cache_folder == Path("here")


def test_a_free_port_is_free_and_no_outgoing_connection_takes_it() -> None:
    port = Ports().reserve_free()

    assert port in CANDIDATES
    assert not accepts_connections(port)


def test_no_port_is_reserved_twice() -> None:
    ports = Ports()

    reserved = [ports.reserve_free() for _ in range(500)]

    assert len(set(reserved)) == len(reserved)
    with pytest.raises(StackError, match="STACK_KAFKA_PORT"):
        ports.reserve(reserved[0], setting="STACK_KAFKA_PORT")


def test_what_one_reserves_no_other_one_reserves_until_the_first_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = Ports()
    port = first.reserve_free()
    monkeypatch.setattr("tools.stack.ports.CANDIDATES", range(port, port + 1))

    with pytest.raises(StackError, match="are all in use"):
        Ports().reserve_free()
    with socket.socket() as server:  # its own server can listen
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((HOST, port))
        server.listen()
        with pytest.raises(StackError, match="are all in use"):
            Ports().reserve_free()

    del first
    assert Ports().reserve_free() == port


def test_a_requested_port_in_use_is_reported_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(StackError, match=rf"port {port} \(from STACK_RPC_PORT\) is in use"):
            Ports().reserve(port, setting="STACK_RPC_PORT")


def test_commits_survive_a_crash_unless_configured_otherwise() -> None:
    crash_safe = ("fsync", "synchronous_commit", "full_page_writes")

    assert {server_settings(port=1, durable=True)[name] for name in crash_safe} == {"on"}
    assert {server_settings(port=1, durable=False)[name] for name in crash_safe} == {"off"}


def test_the_database_is_set_as_the_runbook_recommends() -> None:
    runbook = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text()
    settings = server_settings(port=1, durable=True)

    for name in WORKLOAD_SETTINGS:
        assert settings[name] == WORKLOAD_SETTINGS[name]
        assert f"`{name}`" in runbook


def test_the_database_listens_on_this_machine_only() -> None:
    settings = server_settings(port=5, durable=True)

    assert (settings["listen_addresses"], settings["unix_socket_directories"]) == ("127.0.0.1", "")
    assert database_url(5, "d") == "postgresql://slipstream@127.0.0.1:5/d"


def test_a_folder_inside_a_closed_one_is_not_reachable(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    inside = closed / "inside"
    inside.mkdir(parents=True)
    closed.chmod(0o700)

    assert not is_reachable_by_all(inside)
    assert is_reachable_by_all(Path("/"))


def test_data_that_a_killed_stack_left_in_the_shared_folder_are_found(tmp_path: Path) -> None:
    mine, other = (
        create_shared_data_folder(tmp_path / "mine"),
        create_shared_data_folder(tmp_path / "other"),
    )

    assert find_abandoned_data(tmp_path / "mine") == [mine]
    mine.rmdir()
    other.rmdir()


def a_state(pid: int) -> StackState:
    return StackState(
        pid=pid,
        environment={"DATABASE_URL": "d"},
        parts=(PartState(name="kafka", pid=7, port=8, log="l"),),
    )


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_state(tmp_path, a_state(1))

    assert read_state(tmp_path) == a_state(1)
    remove_state(tmp_path)
    assert read_state(tmp_path) is None


def test_the_state_of_a_killed_stack_is_ignored(tmp_path: Path) -> None:
    write_state(tmp_path, a_state(os.getpid()))

    assert load_running_state(tmp_path) is None
    lock = folder_lock(tmp_path)
    assert lock.try_acquire()
    assert load_running_state(tmp_path) == a_state(os.getpid())
    lock.release()


def test_the_end_of_a_process_is_described_in_words() -> None:
    assert describe_exit(3) == "ended with exit status 3"
    assert describe_exit(-9) == "was killed by SIGKILL"


def test_a_death_shows_the_end_of_the_log_or_says_that_it_is_empty(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))

    message = str(PartDied("part", "ended", log))

    assert "line 99" in message
    assert "line 1\n" not in message
    assert read_tail(tmp_path / "absent.log") == "  (it is empty)"
