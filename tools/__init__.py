"""What operators and developers run: the command line, the local stack, the demo, the benchmarks."""
