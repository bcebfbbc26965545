"""``python -m services.ingest`` runs the service until SIGTERM."""

from services.ingest.app import main

main()
