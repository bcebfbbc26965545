"""What a front shows of the chain: an earlier head, other hashes, tags that stand still. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from eth_utils.crypto import keccak

_TAGGED_FIELDS = ("fromBlock", "toBlock", "blockNumber")
_UNMINED = {"blockHash": None, "blockNumber": None, "transactionIndex": None}
FINALITY_TAGS = frozenset({"finalized", "safe"})


def names_tag(params: Sequence[Any], tags: frozenset[str]) -> bool:
    """Whether a request names one of these blocks."""
    return any(value in tags for value in _list_blocks(params))


def replace_tags(params: Sequence[Any], number_by_tag: Mapping[str, int]) -> list[Any]:
    """Name blocks by their numbers where a request names them by these tags."""
    return [
        {
            key: _replace(each, number_by_tag) if key in _TAGGED_FIELDS else each
            for key, each in value.items()
        }
        if isinstance(value, dict)
        else _replace(value, number_by_tag)
        for value in params
    ]


def find_number(params: Sequence[Any], position: int) -> int | None:
    """The block number at a position of a request; None: there is none."""
    value = params[position] if position < len(params) else None
    return parse_number(value)


def parse_number(value: Any) -> int | None:
    """None: it is no number, or a hash."""
    if isinstance(value, str) and value.startswith("0x") and len(value) < 20:
        return int(value, 16)
    return None


def parse_range(log_filter: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The first and the last block of an eth_getLogs; None: a tag, or not given."""
    return parse_number(log_filter.get("fromBlock")), parse_number(log_filter.get("toBlock"))


def hide_later(result: Any, *, head: int) -> Any:
    """A block or receipt as a node knows it whose head this is: null, if it is later."""
    if not isinstance(result, dict):
        return result
    number = parse_number(result.get("number") or result.get("blockNumber"))
    return None if number is not None and number > head else result


def unmine_later(transaction: Any, *, head: int) -> Any:
    """A transaction as a node knows it whose head this is: in no block, if that is later."""
    if not isinstance(transaction, dict):
        return transaction
    number = parse_number(transaction.get("blockNumber"))
    return transaction | _UNMINED if number is not None and number > head else transaction


def clear_block_fields(receipt: Any) -> Any:
    """A receipt without its place, as some providers answer just after a block."""
    return receipt | _UNMINED if isinstance(receipt, dict) else receipt


def change_hashes(result: Any, *, above: int) -> Any:
    """The same result with other hashes for the blocks above this number."""
    if isinstance(result, list):
        return [change_hashes(each, above=above) for each in result]
    if not isinstance(result, dict):
        return result
    changed = {key: change_hashes(each, above=above) for key, each in result.items()}
    own, containing = parse_number(result.get("number")), parse_number(result.get("blockNumber"))
    if own is not None:
        _change(changed, "hash", is_later=own > above)
        _change(changed, "parentHash", is_later=own - 1 > above)
    if containing is not None:
        _change(changed, "blockHash", is_later=containing > above)
    return changed


def _change(fields: dict[str, Any], name: str, *, is_later: bool) -> None:
    if is_later and isinstance(fields.get(name), str):
        fields[name] = "0x" + keccak(hexstr=fields[name]).hex()


def _replace(value: Any, number_by_tag: Mapping[str, int]) -> Any:
    is_tag = isinstance(value, str) and value in number_by_tag
    return hex(number_by_tag[value]) if is_tag else value


def _list_blocks(params: Sequence[Any]) -> list[str]:
    """Everything in a request that may name a block."""
    found = [each for each in params if isinstance(each, str)]
    for each in params:
        if isinstance(each, dict):
            found += [each[name] for name in _TAGGED_FIELDS if isinstance(each.get(name), str)]
    return found
