"""Run it: ``python -m services.pricer``."""

from services.pricer.app import main

main()
