"""Entry point: ``python -m services.preflight`` runs the service until SIGTERM."""

from services.preflight.app import main

main()
