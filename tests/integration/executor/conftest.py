"""A paper venue on a chain of its own, for the tests of this folder."""

from tests.integration.paper_venue.conftest import rpc_url, venue

__all__ = ["rpc_url", "venue"]
