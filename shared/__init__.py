"""What the services share: the domain, the messages, the loop, and the ways to the venue, the
chain, the database and the telemetry.
"""
