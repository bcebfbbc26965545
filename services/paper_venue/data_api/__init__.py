"""The Data API, version 2: an index of the chain's logs, and activity, positions and approvals read from it."""
