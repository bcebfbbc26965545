from services.pricer.app import main

main()
