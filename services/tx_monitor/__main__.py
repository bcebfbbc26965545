from services.tx_monitor.app import main

main()
