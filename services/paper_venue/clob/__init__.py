"""The CLOB's REST API: public market data, API keys, trading, and what a key sees of its own orders."""
