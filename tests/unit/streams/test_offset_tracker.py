"""The committable offset never passes an unfinished message."""

from hypothesis import given
from hypothesis import strategies as st

from shared.streams.offset_tracker import OffsetTracker


def test_nothing_is_committable_before_a_message_is_finished() -> None:
    tracker = OffsetTracker()
    tracker.add(7)

    assert tracker.committable is None
    assert tracker.unfinished == 1


def test_the_oldest_unfinished_message_holds_the_offset_back() -> None:
    tracker = OffsetTracker()
    for offset in (7, 8, 9):
        tracker.add(offset)

    moved = [tracker.finish(8), tracker.finish(9)]

    assert moved == [False, False]
    assert tracker.committable is None
    assert tracker.unfinished == 1


def test_one_finish_can_make_all_later_messages_committable() -> None:
    tracker = OffsetTracker()
    for offset in (7, 8, 9):
        tracker.add(offset)
    tracker.finish(8)
    tracker.finish(9)

    assert tracker.finish(7)
    assert tracker.committable == 10
    assert tracker.unfinished == 0


def test_offsets_that_compaction_removed_are_skipped() -> None:
    tracker = OffsetTracker()
    for offset in (3, 10, 500):
        tracker.add(offset)

    tracker.finish(3)
    assert tracker.committable == 4
    tracker.finish(10)
    tracker.finish(500)

    assert tracker.committable == 501


@given(st.data())
def test_no_order_of_finishing_makes_an_unfinished_message_committable(data: st.DataObject) -> None:
    offsets = sorted(data.draw(st.sets(st.integers(0, 10_000), min_size=1, max_size=40)))
    tracker, offsets_to_add, unfinished = OffsetTracker(), iter(offsets), list[int]()
    left, last = len(offsets), -1

    while left or unfinished:
        if left and (not unfinished or data.draw(st.booleans())):
            unfinished.append(offset := next(offsets_to_add))
            tracker.add(offset)
            left -= 1
        else:
            unfinished.remove(offset := data.draw(st.sampled_from(unfinished)))
            moved = tracker.finish(offset)
            assert moved == (tracker.committable is not None and tracker.committable > last)
        committable = -1 if tracker.committable is None else tracker.committable
        assert committable >= last, "the committable offset never decreases"
        assert all(offset >= committable for offset in unfinished), (
            "and never passes an unfinished message"
        )
        assert tracker.unfinished == len(unfinished)
        last = committable

    assert tracker.committable == offsets[-1] + 1, "when all are finished, all are committable"
