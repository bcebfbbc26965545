"""A first order with polymarket-client 0.14.0: buy for 10 pUSD and wait until it is settled."""

import asyncio
from dataclasses import replace
from typing import Any

from paper import new_account, read_venue
from polymarket import AsyncSecureClient
from polymarket._internal.environment import PRODUCTION_CONFIG, create_environment

URL_BY_FIELD = {
    "clob_url": "clob",
    "clob_market_ws_url": "market_ws",
    "clob_user_ws_url": "user_ws",
    "rtds_ws_url": "rtds",
    "gamma_url": "gamma",
    "data_url": "data",
    "relayer_url": "relayer",
    "rpc_url": "rpc",
}


async def connect(venue: dict[str, Any], account: dict[str, str]) -> AsyncSecureClient:
    """The official client, with the venue's addresses. It has no public way to change them; its own
    integration tests use this one. Pin the version.
    """
    urls = {field: venue["urls"][name] for field, name in URL_BY_FIELD.items()}
    environment = create_environment(name="paper", config=replace(PRODUCTION_CONFIG, **urls))
    return await AsyncSecureClient.create(
        private_key=account["private_key"], wallet=account["proxy"], environment=environment
    )


async def main() -> None:
    venue = read_venue()
    client = await connect(venue, new_account(venue, "deposit"))
    try:
        markets = await client.list_markets().first_page()
        token = markets.items[0].outcomes.yes.token_id
        order = await client.place_market_order(
            asset_id=token, side="BUY", amount="10", max_price="0.95", order_type="FOK"
        )
        print(order.status, order.taking_amount, "shares for", order.making_amount, "pUSD")
        print("settled by", *await client.wait_for_order_fill_settlement(order))
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
