"""`slipstream stack`: passes everything on to the local stack's own commands."""

import typer

app = typer.Typer()

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=PASSED_ON)
def stack(context: typer.Context) -> None:
    """Run Kafka, PostgreSQL and a chain on this machine: up, status, down, fetch."""
    from tools.stack.commands import app as stack_app

    stack_app(args=context.args, prog_name="slipstream stack")
