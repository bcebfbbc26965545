"""Run it: ``python -m services.preflight``."""

from services.preflight.app import main

main()
