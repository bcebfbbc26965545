"""An order whose reply is lost: the venue has it, the client does not know, and asks.

The paper venue's fault ``drop-reply`` closes the connection after the order is in. A bot that
treats this as a failure and orders again has bought twice.
"""

import asyncio

from first_order import connect
from paper import fetch, new_account, read_venue
from polymarket.errors import TransportError


async def main() -> None:
    venue = read_venue()
    account = new_account(venue, "eoa")
    client = await connect(venue, account)
    faults = f"{venue['urls']['control']}/faults"
    fault = {"drop-reply": {"times": 1, "only": account["proxy"]}}
    fetch(faults, fault, method="PATCH")
    try:
        markets = await client.list_markets().first_page()
        token = markets.items[0].outcomes.yes.token_id
        try:
            await client.place_market_order(
                asset_id=token, side="BUY", amount="10", max_price="0.95", order_type="FOK"
            )
        except TransportError as error:
            print("no reply:", error)
        trades = await client.list_account_trades().first_page()
        print("the venue has", len(trades.items), "trade of", trades.items[0].size, "shares")
    finally:
        fetch(faults, {"drop-reply": None}, method="PATCH")
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
