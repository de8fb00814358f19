"""The options that name data, the same in every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.console import progress

if TYPE_CHECKING:
    from toolchain.data import Dataset

#: What data may be, in the help of an option.
FORMS = ".npz, a folder of pictures, path.py:callable"
#: Which of them a limit takes, likewise.
LIMIT = "Use so many samples: the first, of a folder as many of each class."

Size = Annotated[
    str | None,
    typer.Option(help="Of pictures from a folder: H,W, or H,W/SHORT to scale the short side first, then cut."),
]


def open_samples(data: str, *, size: str | None, limit: int | None, labelled: bool = True) -> Dataset:
    """Open data as options name them.

    Parameters
    ----------
    data : str
        A path, or ``path.py:callable``.
    size : str or None
        As `toolchain.doors.parse_crop` reads it.
    limit : int or None
    labelled : bool
        Whether labels are asked for.

    Raises
    ------
    InputError, FormatError
        When the data cannot be used.
    """
    from toolchain.doors import open_data, parse_crop

    crop = None if size is None else parse_crop(size)
    return open_data(data, crop=crop, limit=limit, labelled=labelled, progress=progress)
