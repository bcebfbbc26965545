"""Parse the arguments of commands: addresses, amounts, rates and names of faults."""

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from cli.errors import CommandError
from shared.chain import addresses
from shared.domain.money import as_decimal
from shared.domain.terms import MAX_SPREAD_BPS, MAX_TERM_USDC, EndMode, EntryMode, ExitMode, Tier

if TYPE_CHECKING:
    from services.paper_venue.faults.catalogue import Fault


MAX_DIGITS = 18
"""Before the decimal point, and after it."""


def parse_address(text: str, *, what: str) -> str:
    """The address with its checksum. Raises: CommandError, also where the given mixture of upper
    and lower case does not fit the checksum.
    """
    try:
        return addresses.parse_address(text)
    except ValueError as error:
        raise CommandError(f"{what} {error}") from None


def parse_decimal(text: str, *, what: str) -> Decimal:
    """Raises: CommandError where it is no finite number, or has more than ``MAX_DIGITS`` digits
    before or after the decimal point: what computes with it would fail, or take for ever.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise CommandError(f"{what} is {text[:40]!r}: it must be a number such as 12.50")
    if number.adjusted() >= MAX_DIGITS or int(number.as_tuple().exponent) < -MAX_DIGITS:
        raise CommandError(f"{what} is {text[:40]!r}: that is too large or too exact")
    return number


def parse_usdc(text: str, *, what: str) -> int:
    """Micro-USDC, at least 0. Raises: CommandError."""
    amount = parse_not_negative(text, what=what)
    scaled = amount.scaleb(6)
    if scaled != scaled.to_integral_value():
        raise CommandError(f"{what} is {text}: USDC has at most six decimals")
    if scaled > MAX_TERM_USDC:
        raise CommandError(f"{what} is {text}: it must be at most {as_decimal(MAX_TERM_USDC):f}")
    return int(scaled)


def parse_slippage_bps(text: str) -> Decimal:
    """A limit given in percent, as basis points. Raises: CommandError."""
    percent = parse_decimal(text, what="--slippage")
    if not 0 <= percent < 100:
        raise CommandError(f"--slippage is {text}: it must be at least 0 and below 100 percent")
    return percent * 100


def parse_spread_bps(text: str) -> Decimal:
    """A limit given in percent, as basis points. Raises: CommandError."""
    bps = parse_not_negative(text, what="--max-spread") * 100
    if bps > MAX_SPREAD_BPS:
        raise CommandError(
            f"--max-spread is {text}: it must be at most {MAX_SPREAD_BPS / 100:f} percent"
        )
    return bps


def parse_tier(text: str) -> Tier:
    """A tier from FROM:SIZE, where SIZE is a percentage such as 10% or an amount in USDC.

    Raises: CommandError.
    """
    start, separator, size = text.partition(":")
    if not separator:
        raise CommandError(
            f"--tier is {text!r}: it must be FROM:SIZE, such as 0:10% (ten percent of trades from "
            "0 USDC on) or 1000:25 (25 USDC of trades from 1000 USDC on)"
        )
    from_usdc = parse_usdc(start, what=f"--tier {text}: the size that it begins at")
    try:
        if size.endswith("%"):
            percent = parse_decimal(size[:-1], what=f"--tier {text}: the percentage")
            return Tier(from_usdc=from_usdc, percent=percent)
        fixed_usdc = parse_usdc(size, what=f"--tier {text}: the amount")
        return Tier(from_usdc=from_usdc, fixed_usdc=fixed_usdc)
    except ValueError as error:
        raise CommandError(f"--tier {text}: {error}") from None


def parse_exit_mode(text: str) -> ExitMode:
    """Raises: CommandError, listing the modes that exist."""
    try:
        return ExitMode(text)
    except ValueError:
        raise CommandError(
            f"--exits is {text}: it must be one of {', '.join(mode.value for mode in ExitMode)}"
        ) from None


def parse_entry_mode(text: str) -> EntryMode:
    """Raises: CommandError, listing the modes that exist."""
    try:
        return EntryMode(text)
    except ValueError:
        raise CommandError(
            f"--entries is {text}: it must be one of {', '.join(mode.value for mode in EntryMode)}"
        ) from None


def parse_end_mode(text: str, *, what: str) -> EndMode:
    """Raises: CommandError, listing the modes that exist."""
    by_name = {mode.value.replace("_", "-"): mode for mode in EndMode}
    if text not in by_name:
        raise CommandError(f"{what} is {text}: it must be one of {', '.join(by_name)}")
    return by_name[text]


def parse_positive(text: str, *, what: str) -> Decimal:
    """Raises: CommandError."""
    number = parse_decimal(text, what=what)
    if number <= 0:
        raise CommandError(f"{what} is {text}: it must be above 0")
    return number


def parse_not_negative(text: str, *, what: str) -> Decimal:
    """Raises: CommandError."""
    number = parse_decimal(text, what=what)
    if number < 0:
        raise CommandError(f"{what} is {text}: it cannot be below 0")
    return number


def parse_fault(text: str, *, what: str) -> "Fault":
    """Raises: CommandError, listing the faults that exist."""
    from services.paper_venue.faults.catalogue import Fault

    try:
        return Fault(text)
    except ValueError:
        raise CommandError(f"{what} is {text!r}: it must be one of {', '.join(Fault)}") from None


def parse_transaction_choice(transferred_by: str | None, *, not_transferred: bool) -> str | None:
    """The hash of the transaction in lower case; None where no transaction is said to have
    transferred it. Raises: CommandError unless exactly one of the two is given.
    """
    if (transferred_by is not None) == not_transferred:
        raise CommandError(
            "say what became of it: --transferred-by TRANSACTION, or --not-transferred"
        )
    if transferred_by is None:
        return None
    if not re.fullmatch(r"0x[0-9a-fA-F]{64}", transferred_by):
        raise CommandError(
            f"--transferred-by is {transferred_by[:80]!r}: a transaction is 0x and 64 hexadecimal "
            "digits"
        )
    return transferred_by.lower()
