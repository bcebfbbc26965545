from services.debt_recovery.app import main

main()
