"""The base classes of messages, and the types of their fields."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from shared.domain.money import BASE_UNIT


@dataclass(frozen=True, slots=True)
class _DecimalAsText:
    """A decimal that is text in JSON, between the given bounds.

    The rule is a schema: as a Python function it would cost more than the rest of the decoding.
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
"""A price or ratio. A JSON number is refused, because a parser may have rounded it."""

Price = Annotated[Decimal, _DecimalAsText(minimum=BASE_UNIT, less_than=Decimal(1))]
"""USDC per share. It is at least 0.000001, so that an amount divided by it stays an amount."""

Micros = Annotated[int, Field(strict=True)]
"""Base units: micro-USDC or micro-shares, a millionth each. Strict: text, fractions and bools are
refused."""

MAX_MICROS = 10**18
"""More than anybody has; a sum of a few such amounts still fits into a BIGINT column."""

Amount = Annotated[int, Field(strict=True, ge=0, le=10**6 * MAX_MICROS)]
"""Micros that were computed with a price: at most the maximum amount at the minimum price."""

TradedMicros = Annotated[int, Field(strict=True, gt=0, le=MAX_MICROS)]

PositiveMicros = Annotated[int, Field(strict=True, gt=0)]

Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
"""An EVM address in its checksummed spelling. Parsers at the edge checksum it; all other code
compares it as text."""


class Fact(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(BaseModel):
    """A fact on a topic.

    Its class name is in the header ``type``, so that one topic can carry several classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    topic: ClassVar[str]

    message_id: str
    """Derived from the contents, so that a repetition of the message has the same id."""
    occurred_at: AwareDatetime
    version: int = 1

    def key(self) -> bytes:
        """Return the Kafka key; messages of one key stay in order and are handled one at a time."""
        raise NotImplementedError


class ProxyMessage(Message):
    """A message about a follower's money, in the order of its proxy."""

    proxy: Address
    """The follower's wallet that holds the position."""

    def key(self) -> bytes:
        return self.proxy.encode()
