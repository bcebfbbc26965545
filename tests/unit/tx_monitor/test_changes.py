"""What lasts is logged once, and what changes is logged."""

from services.tx_monitor.adapters.changes import Changes


def test_what_lasts_is_new_once_whatever_its_blocks_and_hashes_are() -> None:
    changes = Changes()

    assert changes.is_new("one", "block 100 has another hash, 0xab, for 12 rounds")
    assert not changes.is_new("one", "block 101 has another hash, 0xcd, for 13 rounds")
    assert changes.is_new("other", "block 101 has another hash, 0xcd, for 13 rounds")
    assert changes.is_new("one", "")
    assert not changes.is_new("one", "")


def test_the_same_trouble_of_another_node_is_new() -> None:
    changes = Changes()

    assert changes.is_new("nodes", "node 1 is behind: its head is block 90")
    assert not changes.is_new("nodes", "node 1 is behind: its head is block 91")
    assert changes.is_new("nodes", "node 2 is behind: its head is block 91")
    assert changes.is_new("nodes", "node 12 is behind: its head is block 91")
