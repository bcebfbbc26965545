"""`slipstream venue scenario`: play a scenario file on a running paper venue."""

import asyncio
from pathlib import Path

import aiohttp
import typer

from cli.errors import CommandError
from services.paper_venue.control.scenario import read_scenario
from tools.pipeline.scenario import play_scenario


def play(file: Path, venue: str) -> None:
    """Raises: ScenarioError, VenueRefused, CommandError where no venue answers."""
    scenario = read_scenario(file)
    if scenario.title:
        typer.echo(scenario.title)
    try:
        control_url = f"{venue.rstrip('/')}/control"
        strikes = asyncio.run(play_scenario(control_url, scenario, report=typer.echo))
    except aiohttp.ClientError as error:
        remedy = "start one with `slipstream venue up`, or give its address by --venue"
        raise CommandError(
            f"no paper venue answers at {venue} ({type(error).__name__}): {remedy}"
        ) from error
    for fault, count in strikes.items():
        typer.echo(f"{fault} struck {count} times")
