"""Apache Kafka as local processes: its jars (jars.py), what is computed from them once (warm.py),
its configuration, its brokers.
"""
