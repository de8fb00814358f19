"""How results show: as tables when printed, as HTML in a notebook."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Columns of a result that is printed or shown in a notebook.
WIDTH = 110


class Displayed:
    """Base of results that are looked at: `__rich__` says how, this class where.

    ``print(result)`` writes plain tables, a notebook shows the same as HTML; ``repr`` is left alone.
    """

    def __rich__(self) -> RenderableType:
        """Return tables for a terminal."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the tables as plain text."""
        return _recorded(self).export_text().rstrip("\n")

    def _repr_html_(self) -> str:
        style = "font-family:ui-monospace,monospace;font-size:13px;line-height:1.35;overflow-x:auto;white-space:pre"
        return _recorded(self).export_html(inline_styles=True, code_format=f'<pre style="{style}">{{code}}</pre>')


def _recorded(result: Displayed) -> Console:
    # Rich loads when a result shows: the Lava worker has results too, and shows none.
    from rich.console import Console

    console = Console(record=True, file=io.StringIO(), width=WIDTH, highlight=False, emoji=False)
    console.print(result)
    return console
