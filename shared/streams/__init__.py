"""How do messages get from one service to the next, in order and without loss? The one loop of
every service, on Kafka.
"""
