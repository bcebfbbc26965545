"""Entry point: ``python -m services.tx_monitor`` runs the service until SIGTERM."""

from services.tx_monitor.app import main

main()
