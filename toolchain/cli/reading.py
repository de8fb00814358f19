"""Which of the user's files a step of a pipeline read: the modules that it imported, and whatever those opened."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

#: Packages whose files the version stands for.
_OWN = ("toolchain", "sim", "hw_targets")


def digest(path: str | Path) -> str | None:
    """Return the SHA-256 (hex) of a file; None where there is none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def digest_of_names(folder: Path) -> str:
    """Return the SHA-256 (hex) of the names and sizes of the files in a folder: what came and went shows there."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{path.relative_to(folder)}\0{path.stat().st_size}\n" for path in found)
    return hashlib.sha256(b"".join(map(os.fsencode, lines))).hexdigest()


@dataclass
class Opened:
    """Files that this process opened, by their whole path."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note the opening of a file: an audit hook (PEP 578)."""
        if event == "open" and isinstance(arguments[0], str | bytes):
            for_reading = arguments[2] & os.O_ACCMODE == os.O_RDONLY
            (self.read if for_reading else self.written).add(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100


@cache
def _opened() -> Opened:
    """Start to note what is opened, once: a hook cannot be taken back."""
    opened = Opened()
    sys.addaudithook(opened.note)
    return opened


@contextmanager
def reading(words: Sequence[str]) -> Iterator[dict[str, str]]:
    """Note what is read within; afterwards the mapping holds the hash of each file by its path.

    Parameters
    ----------
    words : sequence of str
        Of a command. Where one names code, ``module:callable``, all modules count: an earlier step may have imported
        what this one uses.
    """
    opened, found = _opened(), dict[str, str]()
    opened.read.clear()
    opened.written.clear()
    yield found
    paths = {_source(path) for path in opened.read.copy()} - opened.written
    if any(":" in word for word in words):
        paths |= {file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    installed, here = _installed(), f"{Path.cwd().resolve()}/"
    for path in sorted(map(os.path.realpath, paths)):
        if not path.startswith(installed) and (sha := digest(path)) is not None:
            found[path.removeprefix(here)] = sha  # so that a folder that moves as a whole stays as it is


def _source(path: str) -> str:
    """Return the source of a module that was read as bytecode."""
    try:
        return source_from_cache(path) if path.endswith(".pyc") else path
    except ValueError:  # no name that Python gives
        return path


def _installed() -> tuple[str, ...]:
    """Return the folders that hold no file of the user's: Python, its packages, ours, caches, the system."""
    root = Path(__file__).parents[2]
    caches = (os.environ.get("XDG_CACHE_HOME"), os.environ.get("MPLCONFIGDIR"), "~/.cache", "~/.config")
    folders = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *(str(root / name) for name in _OWN)]
    folders += [os.path.expanduser(folder) for folder in caches if folder]  # noqa: PTH111
    return tuple(f"{os.path.realpath(folder)}/" for folder in [*folders, "/proc", "/sys", "/dev"])
