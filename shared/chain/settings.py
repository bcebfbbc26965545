"""Which exchanges' fills are read from the chain."""

import re

from eth_utils.address import is_checksum_address, to_checksum_address
from pydantic import field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.chain.addresses import LIVE_EXCHANGES, SECOND_NEG_RISK_EXCHANGE_V2


class ChainSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, use_attribute_docstrings=True)

    polygon_extra_exchanges: str = SECOND_NEG_RISK_EXCHANGE_V2
    """Exchange contracts whose fills are read besides the three that orders are signed for:
    addresses with commas between them, or empty. By default Polymarket's second neg-risk exchange.
    Name none that you do not trust: a contract's events count as fills of leaders and followers."""

    @field_validator("polygon_extra_exchanges")
    @classmethod
    def _require_addresses(cls, value: str) -> str:
        for each in _split(value):
            if not _is_contract_address(each):
                raise ValueError(
                    f"{each!r} is not the address of a contract: 0x and 40 hexadecimal digits "
                    "(with capitals, its checksum must be right), with commas between addresses"
                )
        return value

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The checksummed addresses of all whose fills are read, each once."""
        extra = map(to_checksum_address, _split(self.polygon_extra_exchanges))
        return tuple(dict.fromkeys((*LIVE_EXCHANGES, *extra)))


def _is_contract_address(text: str) -> bool:
    digits = text.removeprefix("0x")
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text) or int(digits, 16) == 0:
        return False
    return digits == digits.lower() or digits == digits.upper() or is_checksum_address(text)


def _split(addresses: str) -> list[str]:
    return [each.strip() for each in addresses.split(",") if each.strip()]
