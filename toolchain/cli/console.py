"""What every command shares: where output goes, progress, and how errors end.

Results go to stdout, everything else to stderr, so that ``--json`` prints one JSON object and
nothing besides.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

#: Option of every command that has a machine-readable result.
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

#: Exit status of a check that found what it looks for: not equivalent, rules violated.
CHECK_FAILED = 1

# A path and what follows it (":Two:") is no emoji.
messages = Console(stderr=True, highlight=False, emoji=False)
results = Console(highlight=False, emoji=False)


def show(result: RenderableType, as_json: Mapping[str, Any] | None) -> None:
    """Print a result, as JSON when `as_json` is given."""
    if as_json is not None:
        sys.stdout.write(json.dumps(as_json, indent=2, allow_nan=False) + "\n")
    elif isinstance(result, str):
        results.print(result, markup=False, soft_wrap=True)
    else:
        results.print(result)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar with the time left on stderr, if that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bars:
        task = bars.add_task(title, total=total)
        yield lambda: bars.advance(task)
