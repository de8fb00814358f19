"""The application that every command registers with."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="adafire",
    help="Deploy trained networks on neuromorphic hardware: convert, simulate, verify, price.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
