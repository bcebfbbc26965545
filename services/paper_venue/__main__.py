"""Starts the paper venue: ``python -m services.paper_venue``."""

from services.paper_venue.app import main

main()
