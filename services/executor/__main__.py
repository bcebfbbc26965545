"""Run it: ``python -m services.executor``."""

from services.executor.app import main

main()
