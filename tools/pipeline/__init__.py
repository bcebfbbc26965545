"""The paper venue and the six services as local processes, for the demo, benchmarks and tests."""
