"""A report as a file: the suffix of its name chooses the format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from toolchain.files import check_writable
from toolchain.netlist import InputError
from toolchain.report.comparison import compare_html
from toolchain.report.measure import Measurement
from toolchain.report.render import to_html
from toolchain.report.rows import to_json
from toolchain.report.text import to_csv, to_markdown

#: What a report can be written as, by the suffix of the file; several netlists side by side as the first two.
FORMATS = (".html", ".json", ".csv", ".md")


def check_report_path(path: Path, netlists: int = 1) -> None:
    """Raise unless a report of so many netlists can be written there: said before anything is measured.

    Raises
    ------
    InputError
        When the suffix stands for no format, or the file cannot be written.
    """
    formats = FORMATS if netlists == 1 else FORMATS[:2]
    if path.suffix not in formats:
        raise InputError("output", f"{path.name} found, expected a name that ends in {', '.join(formats)}")
    check_writable(path)


def written(measured: Sequence[Measurement], suffix: str, command: str | None = None) -> str:
    """Return what a file with this suffix holds.

    Parameters
    ----------
    measured : sequence of Measurement
        Several are compared, side by side.
    suffix : str
        One that `check_report_path` takes.
    command : str, optional
        The command that made it, for the page's provenance.
    """
    first = measured[0]
    match suffix:
        case ".html":
            return to_html(first, command=command) if len(measured) == 1 else compare_html(measured, command=command)
        case ".json":
            value = to_json(first) if len(measured) == 1 else {"reports": [to_json(m) for m in measured]}
            return json.dumps(value, indent=2, allow_nan=False) + "\n"
        case ".csv":
            return to_csv(first)
    return to_markdown(first)
