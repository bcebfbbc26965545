"""``python -m services.executor`` runs the service until SIGTERM."""

from services.executor.app import main

main()
