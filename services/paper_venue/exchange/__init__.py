"""The exchange itself: markets, orders, books, accounts, matching and trades, in integer base units. It knows nobody."""
