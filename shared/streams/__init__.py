"""Messages between the services on Kafka, in the order of their keys and without loss."""
