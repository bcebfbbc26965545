"""The life of an order: taken, matched, announced, settled on the chain, confirmed or failed."""
