"""`slipstream venue scenario`: a scenario file played to a running venue."""

import asyncio
from pathlib import Path

import aiohttp
import typer

from cli.errors import WrongInput
from services.paper_venue.control.scenario import read_scenario
from tools.pipeline.scenario import play_at


def play(file: Path, venue: str) -> None:
    """Raises: ScenarioError, VenueRefused, WrongInput: no venue answers."""
    scenario = read_scenario(file)
    if scenario.title:
        typer.echo(scenario.title)
    try:
        struck = asyncio.run(play_at(f"{venue.rstrip('/')}/control", scenario, tell=typer.echo))
    except aiohttp.ClientError as error:
        remedy = "start one with `slipstream venue up`, or name it by --venue"
        raise WrongInput(
            f"no paper venue answers at {venue} ({type(error).__name__}): {remedy}"
        ) from error
    for fault, times in struck.items():
        typer.echo(f"{fault} struck {times} times")
