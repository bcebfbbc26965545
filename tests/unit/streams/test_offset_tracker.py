"""Which offset may be committed."""

from hypothesis import given
from hypothesis import strategies as st

from shared.streams.offset_tracker import OffsetTracker


def test_nothing_is_committable_before_anything_is_finished() -> None:
    progress = OffsetTracker()
    progress.add(7)

    assert progress.committable is None
    assert progress.unfinished == 1


def test_the_oldest_unfinished_message_holds_the_offset_back() -> None:
    progress = OffsetTracker()
    for offset in (7, 8, 9):
        progress.add(offset)

    moved = [progress.finish(8), progress.finish(9)]

    assert moved == [False, False]
    assert progress.committable is None
    assert progress.unfinished == 1


def test_one_finish_can_free_all_that_waited_behind_it() -> None:
    progress = OffsetTracker()
    for offset in (7, 8, 9):
        progress.add(offset)
    progress.finish(8)
    progress.finish(9)

    assert progress.finish(7)
    assert progress.committable == 10
    assert progress.unfinished == 0


def test_offsets_that_compaction_left_out_are_passed() -> None:
    progress = OffsetTracker()
    for offset in (3, 10, 500):
        progress.add(offset)

    progress.finish(3)
    assert progress.committable == 4
    progress.finish(10)
    progress.finish(500)

    assert progress.committable == 501


@given(st.data())
def test_no_order_of_finishing_passes_an_unfinished_message(data: st.DataObject) -> None:
    offsets = sorted(data.draw(st.sets(st.integers(0, 10_000), min_size=1, max_size=40)))
    progress, begun, unfinished = OffsetTracker(), iter(offsets), list[int]()
    left, last = len(offsets), -1

    while left or unfinished:
        if left and (not unfinished or data.draw(st.booleans())):
            unfinished.append(offset := next(begun))
            progress.add(offset)
            left -= 1
        else:
            unfinished.remove(offset := data.draw(st.sampled_from(unfinished)))
            moved = progress.finish(offset)
            assert moved == (progress.committable is not None and progress.committable > last)
        committable = -1 if progress.committable is None else progress.committable
        assert committable >= last, "what is committable never goes back"
        assert all(offset >= committable for offset in unfinished), (
            "and never passes an unfinished message"
        )
        assert progress.unfinished == len(unfinished)
        last = committable

    assert progress.committable == offsets[-1] + 1, "when all is finished, all is committable"
