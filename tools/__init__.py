"""What developers run: the local stack, the local pipeline, the benchmarks, the generators."""
