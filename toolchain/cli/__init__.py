"""The command line: ``adafire COMMAND``."""

from toolchain.cli.app import app
from toolchain.cli.entry import commands, main, run

__all__ = ["app", "commands", "main", "run"]
