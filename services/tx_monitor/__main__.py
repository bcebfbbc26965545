"""Run it: ``python -m services.tx_monitor``."""

from services.tx_monitor.app import main

main()
