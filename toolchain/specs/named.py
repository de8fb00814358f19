"""The user's own code by name, run as ``python file.py`` would run it: networks, data sets, decoders."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from toolchain.netlist import InputError

_SPELLING = "write package.module:callable or path/to/file.py:callable"


@contextmanager
def named(spec: str, *objects: type) -> Iterator[Any]:
    """Import what `spec` names; within, code finds its neighbours and sees no arguments, as a program of its own.

    Parameters
    ----------
    spec : str
        ``package.module:callable`` or ``path/to/file.py:callable``: a function, a class, or a dotted path to one. The
        code is run: it can import its neighbours (the current folder's modules for a package).
    *objects : type
        What need not be callable.

    Raises
    ------
    InputError
        When there is no such module or callable, or it ends the program.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise InputError(spec, "names no callable", _SPELLING)
    path = Path(place) if place.endswith(".py") else None
    if path is not None and not path.is_file():
        raise InputError(place, "no such file", _SPELLING)
    package, folders = ("", [Path.cwd()]) if path is None else _package(path.resolve())
    with _as_program(place, folders):
        with failures(spec, f"cannot import {place}", _SPELLING, "while it was imported"):
            module = importlib.import_module(place) if path is None else _import_file(path, package)
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, objects) and not callable(found):
            public = ", ".join(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
            raise InputError(spec, f"{place} has no callable {name!r}", f"it has {public}" if public else None)
        yield found


@contextmanager
def failures(spec: str, what: str, fix: str | None, when: str) -> Iterator[None]:
    """Turn whatever the user's code raises within into one error; what it said before it left is part of that.

    Parameters
    ----------
    spec : str
        That names the code.
    what : str
        Failed.
    fix : str or None
        What to do.
    when : str
        It happened.

    Raises
    ------
    InputError
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    except SystemExit as stop:
        words, said = said.getvalue().strip().splitlines(), io.StringIO()
        raise InputError(
            spec,
            f"ended the program {when}: SystemExit({stop.code!r})" + (f", saying {words[-1]!r}" if words else ""),
            'put what it does as a program under `if __name__ == "__main__":`',
        ) from None
    except Exception as error:
        raise InputError(spec, f"{what}: {type(error).__name__}: {error}", fix) from error
    finally:
        sys.stderr.write(said.getvalue())


def _package(path: Path) -> tuple[str, list[Path]]:
    """Return the package that a file is in ("" for none), and the folders that its imports start from."""
    folder = path.parent
    names: list[str] = []
    while folder.name.isidentifier() and (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names), list(dict.fromkeys([path.parent, folder]))


@contextmanager
def _as_program(name: str, folders: list[Path]) -> Iterator[None]:
    """Let code import what is in `folders` and see only its own name as argument, and leave no trace of that.

    Modules of these folders go before others of the same name, which are set aside meanwhile; afterwards they are
    forgotten, so that the next network finds its own neighbours. Results alone belong to stdout.
    """
    before, path, arguments, here = set(sys.modules), list(sys.path), sys.argv, Path.cwd()
    names = {m.name for m in iter_modules(map(str, folders))} - sys.stdlib_module_names
    others = {n for n in names & before if not _lies_in(n, folders)}
    aside = {n: sys.modules.pop(n) for n in before if n.partition(".")[0] in others}
    sys.path[:0] = map(str, folders)
    sys.argv = [name]
    importlib.invalidate_caches()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        own = [*folders, *(Path(p).resolve() for p in sys.path if p not in path)]  # the code may have added some
        new = (sys.modules.keys() - before) | aside.keys()
        for neighbour in [n for n in new if _lies_in(n.partition(".")[0], own)]:
            sys.modules.pop(neighbour, None)
        sys.modules.update(aside)
        sys.path[:], sys.argv = path, arguments
        os.chdir(here)


def _lies_in(name: str, folders: list[Path]) -> bool:
    """Return whether a loaded top-level module or package is a neighbour: directly in one of the folders."""
    specification = getattr(sys.modules.get(name), "__spec__", None)
    if specification is None:
        return False
    places = list(specification.submodule_search_locations or ()) or [specification.origin or ""]
    return any(Path(place).resolve().parent in folders for place in places)


def _import_file(path: Path, package: str) -> Any:
    # A name of its own per file: two networks in files of the same name do not replace each other.
    name = f"_adafire_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    name = f"{package}.{name}" if package else name
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module
