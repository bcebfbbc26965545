"""The services of the pipeline, and the paper venue beside it. No service imports another."""
