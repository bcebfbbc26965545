"""Why a contract reverted, in words. Pure."""

import re
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from shared.chain.answers import MAX_TEXT, NodeRefused

EXECUTION_REVERTED: Final = 3
"""The code that most nodes give the error of a call that reverted."""
_OUT_OF_GAS: Final = re.compile(r"gas required exceeds allowance|out ?of ?gas", re.IGNORECASE)
_ERROR: Final = keccak(text="Error(string)")[:4]
_PANIC: Final = keccak(text="Panic(uint256)")[:4]
_NAMES: Final = {
    keccak(text=signature)[:4]: signature.partition("(")[0]
    for signature in (
        "ERC20InsufficientBalance(address,uint256,uint256)",
        "ERC20InsufficientAllowance(address,uint256,uint256)",
        "ERC20InvalidReceiver(address)",
        "ERC1155InsufficientBalance(address,uint256,uint256,uint256)",
        "ERC1155MissingApprovalForAll(address,address)",
        "ERC1155InvalidReceiver(address)",
        "InsufficientBalance()",
        "InsufficientAllowance()",
        "NotOwnerNorApproved()",
        "TransferToNonERC1155ReceiverImplementer()",
        "TransferFromFailed()",
        "Unauthorized()",
        "EnforcedPause()",
    )
}
"""Errors of the usual token contracts."""


def is_revert(refusal: NodeRefused) -> bool:
    """Whether the node says that the contract refused the call, and not that it would not ask."""
    return refusal.code == EXECUTION_REVERTED or "revert" in refusal.text.lower()


def is_out_of_gas(refusal: NodeRefused) -> bool:
    """Whether the node says that the call needs more gas than it was given."""
    return not refusal.is_about_access and bool(_OUT_OF_GAS.search(refusal.text))


def describe_revert(refusal: NodeRefused) -> str:
    """Return the reason in words: the contract's own text or the name of its error; where neither
    is known, what the node says.
    """
    selector, rest = refusal.data[:4], refusal.data[4:]
    if selector == _ERROR:
        return _decode_text(rest) or refusal.text
    if selector == _PANIC and rest:
        return f"panic {int.from_bytes(rest[:32]):#x}"
    return _NAMES.get(selector) or refusal.text


def _decode_text(data: bytes) -> str:
    try:
        (text,) = decode(["string"], data)
    except (DecodingError, OverflowError, ValueError):
        return ""
    return "".join(filter(str.isprintable, str(text)))[:MAX_TEXT]
