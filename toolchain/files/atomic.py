"""Write a file whole or not at all: a temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from toolchain.netlist.errors import InputError


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path: Path | str) -> Path:
    """Return `path`, after checking that a file can be put there: call it before long work.

    Raises
    ------
    InputError
        When the folder is missing or not writable, or `path` is there and no regular file.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(str(path), f"folder {path.parent} is missing", "create it, or name another file")
    if path.exists() and not path.is_file():
        raise InputError(str(path), "it is there and is no regular file", "name another file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(str(path), f"folder {path.parent} is not writable", "name another file")
    return path


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write; on success it becomes `path`, on any failure it is removed.

    Readers of `path` see the old file or the new one, never a part; of two writers at once the
    later one wins, whole. After a kill, at most a file ``.NAME.*.tmp`` is left behind.

    Raises
    ------
    InputError
        When the system refuses to write: no space, no permission, no such folder.

    Examples
    --------
    >>> with replacing("net.json") as temporary:
    ...     temporary.write_text("{}")
    """
    path = check_writable(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        try:
            # Created here, with the user's umask, so that what the body opens is certainly its own.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            _fsync(temporary)
            temporary.replace(path)
            _fsync(path.parent)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                str(path), f"cannot be written: {reason}", "free some space, or name another file"
            ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes | memoryview) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.write(data)
