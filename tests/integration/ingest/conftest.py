"""A paper venue on a chain of its own."""

from tests.integration.paper_venue.conftest import rpc_url, venue

__all__ = ["rpc_url", "venue"]
