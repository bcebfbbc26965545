"""Tx-monitor against a real chain, Kafka and PostgreSQL."""
