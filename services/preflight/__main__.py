from services.preflight.app import main

main()
