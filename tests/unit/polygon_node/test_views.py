"""What a front shows of the chain is a chain that could be."""

from typing import Any

from services.paper_venue.polygon_node import views

HASH, PARENT = "0x" + "aa" * 32, "0x" + "bb" * 32
RECEIPT: dict[str, Any] = {"blockNumber": "0xa", "blockHash": HASH, "transactionIndex": "0x0"}


def a_block(number: int) -> dict[str, Any]:
    return {"number": hex(number), "hash": HASH, "parentHash": PARENT}


def test_tags_become_numbers_where_a_block_is_named() -> None:
    params = [{"fromBlock": "0x1", "toBlock": "finalized", "topics": ["finalized"]}, "safe"]

    assert views.names_tag(params, views.FINALITY_TAGS)
    assert views.replace_tags(params, {"finalized": 16, "safe": 18}) == [
        {"fromBlock": "0x1", "toBlock": "0x10", "topics": ["finalized"]},
        "0x12",
    ]


def test_a_hash_is_no_number() -> None:
    assert views.parse_number(HASH) is None
    assert views.parse_number("latest") is None
    assert views.parse_number("0x10") == 16


def test_what_is_later_than_the_head_is_not_there() -> None:
    assert views.hide_later(a_block(10), head=9) is None
    assert views.hide_later(a_block(10), head=10) == a_block(10)
    assert views.hide_later(RECEIPT, head=9) is None
    assert views.hide_later(None, head=9) is None


def test_a_transaction_in_a_later_block_is_in_none() -> None:
    assert views.unmine_later(RECEIPT, head=9) == dict.fromkeys(RECEIPT)
    assert views.unmine_later(RECEIPT, head=10) == RECEIPT


def test_other_hashes_are_those_of_one_branch() -> None:
    fork = views.change_hashes(a_block(10), above=9)
    following = views.change_hashes({**a_block(11), "parentHash": HASH}, above=9)
    receipt = views.change_hashes(RECEIPT, above=9)

    assert fork["hash"] != HASH
    assert fork["parentHash"] == PARENT
    assert following["parentHash"] == fork["hash"] == receipt["blockHash"]
    assert views.change_hashes([a_block(9)], above=9) == [a_block(9)]
