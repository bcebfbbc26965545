"""Apache Kafka as local processes: jars, start-up cache, configuration and brokers."""
