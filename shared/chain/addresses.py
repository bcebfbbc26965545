"""Addresses of Polymarket's contracts on Polygon (chain id 137).

Source: the environment of polymarket-client 0.14.0 and the contract config of py-clob-client-v2
1.2.1, read on 2026-11-22 and compared by a unit test; exchange V1 from its public deployment
record. The local chain places its contracts at the same addresses.
"""

from typing import Final

from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address

POLYGON_CHAIN_ID: Final = 137

PUSD: Final = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
CONDITIONAL_TOKENS: Final = "0x4D97DCd97eC945f40cF65F87097ACe5EA0476045"
POSITION_MANAGER: Final = "0x006F54F7f9A22e0000CC2AB60031000000ae9fEF"

EXCHANGE_V1: Final = "0x4bFb41d5B3570DeFd03C39a9A4D8dE6Bd8B8982E"
NEG_RISK_EXCHANGE_V1: Final = "0xC5d563A36AE78145C45a50134d48A1215220f80a"
EXCHANGE_V2: Final = "0xE111180000d2663C0091e4f400237545B87B996B"
NEG_RISK_EXCHANGE_V2: Final = "0xe2222d279d744050d28e00520010520000310F59"
EXCHANGE_V3: Final = "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"

# Named by public indexers and guides as Polymarket's other neg-risk exchange, with the code of the
# first. No client library signs for it, and no count of its fills is known: its fills are read
# (`shared/chain/settings.py`), no order is signed for it, and no allowance of it is asked for.
SECOND_NEG_RISK_EXCHANGE_V2: Final = "0xe2222d002000Ba0053CEF3375333610F64600036"

# The exchanges that orders are signed for today; V1 has been dead since 2026-04-28.
LIVE_EXCHANGES: Final = (EXCHANGE_V2, NEG_RISK_EXCHANGE_V2, EXCHANGE_V3)
V1_EXCHANGES: Final = (EXCHANGE_V1, NEG_RISK_EXCHANGE_V1)

# Safe 1.3.0's canonical deployment; the multisend is the one that polymarket-client names.
SAFE_SINGLETON: Final = "0xd9Db270c1B5E3Bd161E8c8503c55cEABeE709552"
SAFE_FALLBACK_HANDLER: Final = "0xf48f2B2d2a534e402487b3ee7C18c33Aec0Fe5e4"
SAFE_MULTISEND: Final = "0xA238CBeb142c10Ef7Ad8442C6D1f9E89e07e7761"

# What a wallet approves besides the exchanges before a client calls it ready to trade
# (polymarket-client, `relayer/approvals.py`).
COLLATERAL_ADAPTER: Final = "0xAdA100Db00Ca00073811820692005400218FcE1f"
NEG_RISK_COLLATERAL_ADAPTER: Final = "0xadA2005600Dec949baf300f4C6120000bDB6eAab"
ROUTER: Final = "0x12121212006e4CD160D18e3f00711DA5c3372600"
PERPS_DEPOSIT: Final = "0xDCa4af75705dbB50f62437045afF9921947917d2"
AUTO_REDEEMER: Final = "0xa1200000d0002264C9a1698e001292D00E1b00af"
BINARY_MODULE: Final = "0x1000008dD9001B968442c1000017eaE6E0dA00Ba"
NEG_RISK_MODULE: Final = "0x200000900045e3B6259600682756002200028933"

# The contracts of gasless transactions, and the one that clients read neg-risk balances from
# (polymarket-client's environment).
PROXY_FACTORY: Final = "0xaB45c5A4B0c941a2F231C04C3f49182e1A254052"
RELAY_HUB: Final = "0xD216153c06E857cD7f72665E0aF1d7D82172F494"
SAFE_FACTORY: Final = "0xaacFeEa03eb1561C4e67d661e40682Bd20E3541b"
NEG_RISK_ADAPTER: Final = "0xd91E80cF2E7be2e162c6513ceD06f1dD0dA35296"

COLLATERAL_SPENDERS: Final = (
    EXCHANGE_V2,
    NEG_RISK_EXCHANGE_V2,
    COLLATERAL_ADAPTER,
    NEG_RISK_COLLATERAL_ADAPTER,
    ROUTER,
    EXCHANGE_V3,
    PERPS_DEPOSIT,
)
SHARE_OPERATORS: Final = {
    CONDITIONAL_TOKENS: (
        EXCHANGE_V2,
        NEG_RISK_EXCHANGE_V2,
        COLLATERAL_ADAPTER,
        NEG_RISK_COLLATERAL_ADAPTER,
        AUTO_REDEEMER,
        BINARY_MODULE,
        NEG_RISK_MODULE,
    ),
    POSITION_MANAGER: (ROUTER, EXCHANGE_V3, AUTO_REDEEMER),
}

# Bits 40 to 103 of a Protocol V2 position id are reserved and zero; a ConditionalTokens id is a
# hash (polymarket-client, `protocol.py`).
_RESERVED_BITS: Final = ((1 << 64) - 1) << 40


def is_v3_position(token_id: int) -> bool:
    """Whether the token is a position of a Protocol V2 market: traded on Exchange V3 and held in
    PositionManager.
    """
    return token_id & _RESERVED_BITS == 0


def positions_contract(token_id: int) -> str:
    """Return the ERC-1155 contract that holds this token."""
    return POSITION_MANAGER if is_v3_position(token_id) else CONDITIONAL_TOKENS


def parse_address(text: str) -> str:
    """The address with its checksum.

    Raises: ValueError, also where the given mixture of upper and lower case does not fit the
    checksum.
    """
    if not text.startswith("0x") or len(text) != 42:
        raise ValueError(
            f"{text!r} is no address: an address is 0x and 40 hexadecimal digits, this has "
            f"{len(text)} characters"
        )
    if not is_hex_address(text):
        raise ValueError(
            f"{text!r} is no address: after 0x only the digits 0 to 9 and a to f are allowed"
        )
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(text):
        raise ValueError(
            f"{text!r} does not fit its checksum: check its digits (an address in lower case only "
            "is not checked)"
        )
    return str(to_checksum_address(text))
