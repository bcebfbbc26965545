"""The same order with py-clob-client-v2 1.2.1, from a Safe."""

from paper import new_account, read_venue
from py_clob_client_v2.client import ClobClient
from py_clob_client_v2.clob_types import MarketOrderArgsV2, OrderType

SIGNATURE_TYPES = {"eoa": 0, "proxy": 1, "safe": 2, "deposit": 3}
CHAIN_ID = 137


def main() -> None:
    venue = read_venue()
    account = new_account(venue, "safe")
    client = ClobClient(
        venue["urls"]["clob"],
        CHAIN_ID,
        key=account["private_key"],
        signature_type=SIGNATURE_TYPES["safe"],
        funder=account["proxy"],
    )
    client.set_api_creds(client.create_or_derive_api_key())
    token = client.get_sampling_markets()["data"][0]["tokens"][0]["token_id"]
    order = client.create_market_order(
        MarketOrderArgsV2(
            token_id=token, amount=10, side="BUY", price=0.95, order_type=OrderType.FOK
        )
    )
    reply = client.post_order(order, OrderType.FOK)
    print(reply["status"], reply["takingAmount"], "shares for", reply["makingAmount"], "pUSD")
    print("settled by", *reply["transactionsHashes"])


if __name__ == "__main__":
    main()
