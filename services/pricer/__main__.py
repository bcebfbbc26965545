"""Entry point: ``python -m services.pricer`` runs the service until SIGTERM."""

from services.pricer.app import main

main()
