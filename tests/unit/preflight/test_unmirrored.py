"""A follow that mirrors its leader where nothing says what he holds is an error in the log."""

import logging
from collections.abc import Callable

import pytest

from services.preflight.adapters.unmirrored import UnmirroredCheck
from shared.domain.follows import Follow
from shared.domain.terms import EntryMode
from tests.builders import a_follow, controls, seconds
from tests.fakes import FixedControls

MIRROR = a_follow(entries=EntryMode.MIRROR)


def check(follow: Follow, owns: Callable[[str], bool]) -> None:
    UnmirroredCheck(FixedControls(controls(follow)), owns=owns, interval=seconds(30)).check()


def test_a_follow_that_mirrors_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        check(MIRROR, owns=lambda _: True)

    assert "1 follows mirror their leader, but DATA_URL is not set" in caplog.text


@pytest.mark.parametrize(("follow", "is_owned"), [(a_follow(), True), (MIRROR, False)])
def test_other_follows_and_those_of_other_instances_are_none(
    caplog: pytest.LogCaptureFixture, follow: Follow, is_owned: bool
) -> None:
    check(follow, owns=lambda _: is_owned)

    assert caplog.text == ""
