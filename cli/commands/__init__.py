"""The commands' names, options and help texts: one module and one typer app for each group."""
