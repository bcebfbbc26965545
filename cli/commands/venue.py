"""`slipstream venue`: run, record, replay and disturb a paper venue."""

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import report_errors

app = typer.Typer(no_args_is_help=True, help="The paper venue: a Polymarket on this machine.")

DEFAULT_PORT = 8137


@app.command("up")
def start_venue(
    *,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object: addresses, contracts, accounts with their keys."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port it listens on; 0: any free one.")
    ] = DEFAULT_PORT,
    seed: Annotated[int, typer.Option(help="The same seed gives the same markets.")] = 1,
    accounts: Annotated[
        int, typer.Option(min=0, max=100, help="Funded accounts of each kind.")
    ] = 2,
) -> None:
    """Run a paper venue until Ctrl-C, on a chain of its own or on that of POLYGON_RPC_URL. Nothing
    of it is kept.
    """
    with report_errors():
        from cli.venue import VenueOptions, up

        up(VenueOptions(port=port, seed=seed, accounts=accounts, as_json=json))


@app.command("scenario")
def play_scenario(
    file: Annotated[
        Path, typer.Argument(help="A .toml or .json file; docs/scenarios has examples.")
    ],
    *,
    venue: Annotated[
        str, typer.Option(envvar="CLOB_URL", help="The paper venue's address.")
    ] = f"http://127.0.0.1:{DEFAULT_PORT}",
) -> None:
    """Play a scenario on a running paper venue: faults on and off, tick sizes, resolutions and
    leader trades, each at its time.
    """
    with report_errors():
        from cli.scenario import play

        play(file, venue)


@app.command("record")
def record_venue(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    *,
    seconds: Annotated[
        int | None, typer.Option(min=1, help="How long.", show_default="until Ctrl-C")
    ] = None,
    token: Annotated[
        list[str] | None,
        typer.Option(help="Only these tokens' markets; may be repeated.", show_default="all"),
    ] = None,
    venue: Annotated[
        str | None, typer.Option(envvar="CLOB_URL", help="A paper venue, by its CLOB's address.")
    ] = None,
    clob: Annotated[str | None, typer.Option(help="CLOB REST, if not the paper venue's.")] = None,
    gamma: Annotated[str | None, typer.Option(help="Gamma, if not the paper venue's.")] = None,
    market: Annotated[
        str | None, typer.Option(help="The market channel, if not the paper venue's.")
    ] = None,
    rtds: Annotated[str | None, typer.Option(help="RTDS, if not the paper venue's.")] = None,
) -> None:
    """Record what a venue publishes (markets, books, market channel and activity), to be played
    later (docs/recordings.md).
    """
    with report_errors():
        from cli import recording

        options = recording.RecordOptions(
            venue=venue,
            clob=clob,
            gamma=gamma,
            market=market,
            rtds=rtds,
            tokens=token or (),
            seconds=seconds,
        )
        typer.echo(recording.record(file, options))


@app.command("play")
def play_recording(
    file: Annotated[Path, typer.Argument(help="A recording.")],
    *,
    speed: Annotated[str, typer.Option(help="Times the recorded pace, or max.")] = "1",
    json: Annotated[
        bool, typer.Option("--json", help="Print the ready line, with every address, as JSON.")
    ] = False,
) -> None:
    """Run a paper venue whose markets, books and trades are those of a recording
    (docs/recordings.md).
    """
    with report_errors():
        from cli import recording
        from cli.settings import find_system

        rpc_url = find_system().variable("POLYGON_RPC_URL")
        recording.play(file, rpc_url, speed=speed, as_json=json)
