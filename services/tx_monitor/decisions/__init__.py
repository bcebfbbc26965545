"""What tx-monitor decides, from facts alone: no clock, no node and no database."""
