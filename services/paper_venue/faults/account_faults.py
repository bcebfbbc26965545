"""Faults in what the venue knows of an account: its key, its balance, and whether it gets in."""

from collections.abc import Mapping

from services.paper_venue.exchange import rules
from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.faults.gate import ClobRequest, OrderSummary, Refusal
from services.paper_venue.http.auth import ApiKeyStore
from shared.chain.addresses import is_v3_position

GATEWAY_PAGE = (
    "<html><head><title>403 Forbidden</title></head>"
    "<body><center><h1>403 Forbidden</h1></center></body></html>"
)
NO_KEY_TO_DERIVE = "Could not derive api key!"

Asset = tuple[str, str, str]
"""Asset type, token id (empty: the collateral) and signature type, as clients name them."""


class AccountFaults:
    """Refuses requests by these faults, and remembers what clients did about it since a fault was
    turned on.
    """

    def __init__(self, faults: Faults, keys: ApiKeyStore) -> None:
        self._faults, self._keys = faults, keys
        self._revoked: set[tuple[int, str]] = set()
        """When the fault was turned on, and the address whose key was revoked since then."""
        self._refreshed: set[tuple[int, str, Asset]] = set()
        """When the fault was turned on, the address, and what was read again since then."""

    def refusal(self, clob_request: ClobRequest) -> Refusal | None:
        """Why the request is refused; None: it is not. A key may be revoked by this."""
        self._revoke_key(clob_request)
        return self._page(clob_request) or self._stale_balance_refusal(clob_request)

    def on_answered(self, clob_request: ClobRequest, status: int) -> None:
        """Note a balance that the venue has read again."""
        started_at = self._faults.started_at_ms.get(Fault.STALE_BALANCE)
        if clob_request.path != "/balance-allowance/update" or status != 200 or started_at is None:
            return
        self._refreshed.add(
            (started_at, _address(clob_request), _refreshed_asset(clob_request.query))
        )

    def _revoke_key(self, clob_request: ClobRequest) -> None:
        credentials = self._keys.find(clob_request.api_key)
        if credentials is None or Fault.KEY_REVOKED not in self._faults.active:
            return
        strike = (self._faults.started_at_ms[Fault.KEY_REVOKED], credentials.address.lower())
        if strike not in self._revoked and self._faults.trigger(
            Fault.KEY_REVOKED, wallet=clob_request.maker, signer=clob_request.address
        ):
            self._revoked.add(strike)
            self._keys.revoke(credentials)

    def _page(self, clob_request: ClobRequest) -> Refusal | None:
        """A key cannot be derived as long as the gateway does not let its creation through."""
        request = (clob_request.method, clob_request.path)
        if request == ("POST", "/auth/api-key") or clob_request.places_orders:
            return (
                Refusal(status=403, body={}, page=GATEWAY_PAGE)
                if self._faults.trigger(
                    Fault.GATEWAY_PAGE, wallet=clob_request.maker, signer=clob_request.address
                )
                else None
            )
        is_deriving = request == ("GET", "/auth/derive-api-key")
        if is_deriving and self._is_kept_out(clob_request.address or ""):
            return Refusal(status=400, body={"error": NO_KEY_TO_DERIVE})
        return None

    def _is_kept_out(self, address: str) -> bool:
        return (
            Fault.GATEWAY_PAGE in self._faults.active
            and not self._faults.is_exempt(address)
            and not self._keys.list_keys(address)
        )

    def _stale_balance_refusal(self, clob_request: ClobRequest) -> Refusal | None:
        if Fault.STALE_BALANCE not in self._faults.active:
            return None
        started_at = self._faults.started_at_ms[Fault.STALE_BALANCE]
        is_fresh = all(
            (started_at, _address(clob_request), _given_asset(order)) in self._refreshed
            for order in clob_request.orders
        )
        if is_fresh or not self._faults.trigger(
            Fault.STALE_BALANCE, wallet=clob_request.maker, signer=clob_request.address
        ):
            return None
        return Refusal(status=400, body={"error": rules.NOT_ENOUGH})


def _address(clob_request: ClobRequest) -> str:
    return (clob_request.address or "").lower()


def _refreshed_asset(query: Mapping[str, str]) -> Asset:
    asset_type = query.get("asset_type", "")
    token_id = "" if asset_type == "COLLATERAL" else query.get("token_id", "")
    return asset_type, token_id, query.get("signature_type", "0")


def _given_asset(order: OrderSummary) -> Asset:
    if order.buys:
        return "COLLATERAL", "", order.signature_type
    is_v3 = order.token_id.isdecimal() and is_v3_position(int(order.token_id))
    return "CONDITIONAL-V2" if is_v3 else "CONDITIONAL", order.token_id, order.signature_type
