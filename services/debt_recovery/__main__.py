"""Run it: ``python -m services.debt_recovery``."""

from services.debt_recovery.app import main

main()
