from services.paper_venue.app import main

main()
