"""Ingest's ports against PostgreSQL, the activity socket, the chain's logs and the Data API."""

from services.ingest.adapters.activity_feed import ActivityFeed
from services.ingest.adapters.chain_feed import ChainFeed, parse_fills
from services.ingest.adapters.complements import VenueComplements
from services.ingest.adapters.cursors import PostgresLeaderCursors, PostgresPartitionCursors
from services.ingest.adapters.data_feed import DataFeed
from services.ingest.adapters.equities import EquityFeed, PostgresEquities, list_wallets
from services.ingest.adapters.holdings import ChainHoldings
from services.ingest.adapters.shared_leaders import SharedLeaders
from services.ingest.adapters.trades import PostgresTrades
from services.ingest.adapters.unsettled import UnsettledTradesCheck

__all__ = [
    "ActivityFeed",
    "ChainFeed",
    "ChainHoldings",
    "DataFeed",
    "EquityFeed",
    "PostgresEquities",
    "PostgresLeaderCursors",
    "PostgresPartitionCursors",
    "PostgresTrades",
    "SharedLeaders",
    "UnsettledTradesCheck",
    "VenueComplements",
    "list_wallets",
    "parse_fills",
]
