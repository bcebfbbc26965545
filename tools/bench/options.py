"""The options that all benchmarks of the pipeline have."""

import argparse

from tools.bench.systems import SERVICES, Variant


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """How the pipeline runs, in all benchmarks of it."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help="some seconds, to check that it runs; the figures mean nothing",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=SERVICES,
        help="a service that does not run; may be repeated",
    )
    parser.add_argument(
        "--profile",
        choices=SERVICES,
        default="",
        help="also sample where this service spends CPU time",
    )


def build_variant(options: argparse.Namespace) -> Variant:
    return Variant(
        services=[name for name in SERVICES if name not in options.without],
        profiled=options.profile,
    )
