"""An invalid keys file is refused with the number of the entry, and no key is ever shown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from services.executor.adapters.signers import load_wallets
from shared.domain.errors import InvalidSettings
from shared.polymarket.signing import Wallet

KEY = "0x" + "17" * 32
OWNER = Account.from_key(KEY).address


def load(folder: Path, content: Any) -> Mapping[str, Wallet]:
    file = folder / "keys.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_wallets(file)


@pytest.mark.parametrize("spelled", [OWNER, OWNER.lower(), OWNER.upper().replace("0X", "0x")])
def test_wallets_are_keyed_by_checksummed_address_however_the_file_spells_it(
    tmp_path: Path, spelled: str
) -> None:
    wallets = load(tmp_path, [{"proxy": spelled, "private_key": KEY}])

    assert list(wallets) == [OWNER]
    assert wallets[OWNER].proxy == OWNER


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "7",
        "null",
        {"proxy": OWNER, "private_key": KEY},
        [7],
        [{"proxy": OWNER}],
        [{"private_key": KEY}],
        [{"proxy": "nonsense", "private_key": KEY}],
        [{"proxy": OWNER, "private_key": KEY[:-2] + "zz"}],
        [{"proxy": 7, "private_key": KEY}],
    ],
    ids=str,
)
def test_an_invalid_file_is_refused_without_showing_a_key(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(tmp_path, content)

    assert "17" * 8 not in str(refused.value)
    assert refused.value.__cause__ is None
