"""What every message has, and how it travels."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from shared.domain.money import BASE_UNIT


@dataclass(frozen=True, slots=True)
class _DecimalAsText:
    """The rule as a schema: as a function of ours it would cost more than the rest of a message's
    decoding.
    """

    minimum: Decimal | None = None
    less_than: Decimal | None = None

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        number = core_schema.decimal_schema(strict=True, ge=self.minimum, lt=self.less_than)
        parsed = core_schema.decimal_schema(ge=self.minimum, lt=self.less_than)
        text = core_schema.chain_schema([core_schema.str_schema(strict=True), parsed])
        return core_schema.json_or_python_schema(
            json_schema=text,
            python_schema=core_schema.union_schema([number, text], mode="left_to_right"),
            serialization=core_schema.to_string_ser_schema(when_used="json"),
        )


ExactDecimal = Annotated[Decimal, _DecimalAsText()]
"""A price or ratio. JSON numbers are refused: a parser may have rounded them."""

Price = Annotated[Decimal, _DecimalAsText(minimum=BASE_UNIT, less_than=Decimal(1))]
"""USDC per share, as money is divided by it: never so near to nothing that the result is no amount.
"""

Micros = Annotated[int, Field(strict=True)]
"""Base units: micro-USDC or micro-shares, a millionth each. Strict: neither text nor a fraction nor
a bool is an amount."""

MAX_MICROS = 10**18
"""Nobody has as much, and every sum of such amounts fits into a column."""

Amount = Annotated[int, Field(strict=True, ge=0, le=10**6 * MAX_MICROS)]
"""Micros that were sized by a price: the largest amount at the lowest price."""

TradedMicros = Annotated[int, Field(strict=True, gt=0, le=MAX_MICROS)]

PositiveMicros = Annotated[int, Field(strict=True, gt=0)]

Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
"""An EVM address in its checksummed spelling; parsers at the edge checksum, inside it is compared
as text."""


class Fact(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(BaseModel):
    """A fact on a topic. Its class name travels in the header ``type``, so that one topic can carry
    a family.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    topic: ClassVar[str]

    message_id: str
    """Derived from what the message says, so that a repetition has the same id."""
    occurred_at: AwareDatetime
    version: int = 1

    def key(self) -> bytes:
        """What the message stays in order with, and what the loop works one at a time for."""
        raise NotImplementedError


class ProxyMessage(Message):
    """A message on the path of a follower's money: kept in order per proxy."""

    proxy: Address
    """The follower's wallet that holds the position."""

    def key(self) -> bytes:
        return self.proxy.encode()
