"""Progress of long work, without tying the work to a terminal.

Functions that take long accept a `Progress`: called with a title and a total, it returns a context
manager whose value is called once per finished piece. The command line passes rich's progress bars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Anything that can show ``with progress(title, total) as advance: advance()``."""

    def __call__(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Start a piece of work of `total` equal parts."""
        ...


@contextmanager
def silent(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Show nothing."""
    yield lambda: None
