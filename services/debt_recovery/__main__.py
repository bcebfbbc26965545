"""Entry point: ``python -m services.debt_recovery`` runs the service until SIGTERM."""

from services.debt_recovery.app import main

main()
