"""What does the text that somebody typed mean? Amounts become micro-USDC, addresses their
checksummed spelling, or it is refused.
"""

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from cli.errors import WrongInput

if TYPE_CHECKING:
    from services.paper_venue.faults.catalogue import Fault


def address(text: str, *, what: str) -> str:
    """The checksummed spelling. Raises: WrongInput; mixed case that does not fit its checksum is a
    typing error.
    """
    from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address

    if not text.startswith("0x") or len(text) != 42:
        raise WrongInput(
            f"{what} {text!r} is no address: it takes 0x and 40 hexadecimal digits, this has {len(text)} characters"
        )
    if not is_hex_address(text):
        raise WrongInput(
            f"{what} {text!r} is no address: after 0x there are only the digits 0 to 9 and a to f"
        )
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(text):
        raise WrongInput(
            f"{what} {text!r} does not fit its checksum: a digit is mistyped (in lower case throughout it is not checked)"
        )
    return str(to_checksum_address(text))


def decimal(text: str, *, what: str) -> Decimal:
    """Raises: WrongInput."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise WrongInput(f"{what} is {text!r}: it must be a number such as 12.50")
    return number


def usdc(text: str, *, what: str) -> int:
    """Micro-USDC. Raises: WrongInput."""
    amount = decimal(text, what=what)
    if amount < 0:
        raise WrongInput(f"{what} is {text}: it cannot be below 0")
    scaled = amount.scaleb(6)
    if scaled != scaled.to_integral_value():
        raise WrongInput(f"{what} is {text}: USDC has at most six decimals")
    return int(scaled)


def slippage_bps(text: str) -> Decimal:
    """Basis points of a limit typed in percent. Raises: WrongInput."""
    percent = decimal(text, what="--slippage")
    if not 0 <= percent < 100:
        raise WrongInput(f"--slippage is {text}: it must be at least 0 and below 100 percent")
    return percent * 100


def above_zero(text: str, *, what: str) -> Decimal:
    """Raises: WrongInput."""
    number = decimal(text, what=what)
    if number <= 0:
        raise WrongInput(f"{what} is {text}: it must be above 0")
    return number


def fault(text: str, *, what: str) -> "Fault":
    """Raises: WrongInput, with the faults that there are."""
    from services.paper_venue.faults.catalogue import Fault

    try:
        return Fault(text)
    except ValueError:
        raise WrongInput(f"{what} is {text!r}: it must be one of {', '.join(Fault)}") from None
