"""The venue's stale view of a balance, a revoked key, and a gateway in front of it."""

from typing import Any

import pytest

from services.paper_venue.faults.account_faults import AccountFaults
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.faults.gate import ClobRequest, OrderSummary
from services.paper_venue.http.auth import ApiKeyStore
from tests.builders import TOKEN

V3_TOKEN = "651150819117105875331414918119047680898421632356043490229292782433651916800"
OWNER = "0xA"


class Harness:
    def __init__(self, fault: Fault, **options: Any) -> None:
        self.faults = Faults()
        self.keys = ApiKeyStore(secret=b"secret", chain_id=137)
        self.accounts = AccountFaults(self.faults, self.keys)
        self.faults.set({fault: FaultOptions(**options)}, now_ms=1)

    def status(self, method: str, path: str, **request: Any) -> int:
        """The status of the refusal; 200: there is none."""
        request = {"remote": "here", "address": OWNER} | request
        refusal = self.accounts.refusal(ClobRequest(method=method, path=path, **request))
        return 200 if refusal is None else refusal.status

    def post(self, *, buys: bool = True, token_id: str = TOKEN) -> int:
        order = OrderSummary(
            maker=OWNER, buys=buys, post_only=False, token_id=token_id, signature_type="2"
        )
        return self.status("POST", "/order", orders=(order,))

    def update(self, *, status: int = 200, **query: str) -> None:
        request = ClobRequest(
            method="GET",
            path="/balance-allowance/update",
            remote="here",
            address=OWNER.lower(),
            query={"signature_type": "2"} | query,
        )
        self.accounts.on_answered(request, status)


def test_a_stale_balance_is_refused_until_what_the_order_gives_is_read_again() -> None:
    harness = Harness(Fault.STALE_BALANCE)
    harness.update(asset_type="CONDITIONAL", token_id=TOKEN)
    assert harness.post() == 400
    harness.update(asset_type="COLLATERAL", signature_type="0")
    assert harness.post() == 400
    harness.update(asset_type="COLLATERAL", status=429)
    assert harness.post() == 400

    harness.update(asset_type="COLLATERAL")

    assert harness.post() == 200
    assert harness.post(buys=False) == 200  # its token was read again above
    assert harness.post(buys=False, token_id="7" * 70) == 400


@pytest.mark.parametrize(
    ("token_id", "asset_type"), [(TOKEN, "CONDITIONAL"), (V3_TOKEN, "CONDITIONAL-V2")]
)
def test_the_balance_of_a_sell_is_that_of_its_token(token_id: str, asset_type: str) -> None:
    harness = Harness(Fault.STALE_BALANCE)
    assert harness.post(buys=False, token_id=token_id) == 400

    harness.update(asset_type=asset_type, token_id=token_id)

    assert harness.post(buys=False, token_id=token_id) == 200


def test_a_balance_is_stale_again_when_the_fault_is_turned_on_anew() -> None:
    harness = Harness(Fault.STALE_BALANCE)
    harness.update(asset_type="COLLATERAL")
    harness.faults.set({Fault.STALE_BALANCE: FaultOptions()}, now_ms=2)

    assert harness.post() == 400


def test_a_key_is_revoked_once_and_its_account_stays() -> None:
    harness = Harness(Fault.KEY_REVOKED)
    first = harness.keys.derive(OWNER, 0)

    harness.status("GET", "/data/trades", api_key=first.key)
    assert harness.keys.find(first.key) is None

    second = harness.keys.create(OWNER, 0)
    assert second is not None
    harness.status("GET", "/data/trades", api_key=second.key)
    assert harness.keys.find(second.key) == second
    assert (second.key != first.key, second.account) == (True, first.account)
    assert harness.faults.strike_counts[Fault.KEY_REVOKED] == 1


def test_a_gateways_page_keeps_orders_and_new_keys_out() -> None:
    harness = Harness(Fault.GATEWAY_PAGE)

    assert harness.post() == 403
    assert harness.status("POST", "/auth/api-key") == 403
    assert harness.status("GET", "/auth/derive-api-key") == 400
    assert harness.status("GET", "/data/trades") == 200

    harness.keys.create(OWNER, 0)
    assert harness.status("GET", "/auth/derive-api-key") == 200


def test_a_gateway_lets_go_of_a_request_when_its_strikes_are_over() -> None:
    harness = Harness(Fault.GATEWAY_PAGE, times=1)

    assert [harness.status("POST", "/auth/api-key") for _ in range(2)] == [403, 200]
