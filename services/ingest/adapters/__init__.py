"""Ingest's ports against PostgreSQL, the activity socket, the chain's logs and the Data API."""

from services.ingest.adapters.chain_feed import ChainFeed, Cursor, parse_fills
from services.ingest.adapters.complements import VenueComplements
from services.ingest.adapters.equities import EquityFeed, PostgresEquities, list_wallets
from services.ingest.adapters.feeds import ActivityFeed, DataFeed
from services.ingest.adapters.holdings import ChainHoldings
from services.ingest.adapters.trades import PostgresTrades
from services.ingest.adapters.unsettled import UnsettledTradesCheck

__all__ = [
    "ActivityFeed",
    "ChainFeed",
    "ChainHoldings",
    "Cursor",
    "DataFeed",
    "EquityFeed",
    "PostgresEquities",
    "PostgresTrades",
    "UnsettledTradesCheck",
    "VenueComplements",
    "list_wallets",
    "parse_fills",
]
