"""The paper venue and the six services as processes of this machine: what the demo, the benchmarks
and the end-to-end tests run.
"""
