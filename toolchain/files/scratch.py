"""Files that are read and written piece by piece, and temporary ones without a name.

They are not mapped: mapped pages count as the process's memory, and a file that another program cuts short would end
the process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from toolchain.netlist import InputError

#: Bytes of the disk that are left to others.
LEFT_FREE = 1 << 30
#: How often the disk is looked at, in bytes that are written.
_LOOK = 1 << 26


class HeldFile:
    """A file that is closed when nobody holds it any more.

    Parameters
    ----------
    name : str
        For messages.
    file : open file
    """

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self._file = file
        weakref.finalize(self, file.close)

    def read(self, room: memoryview, offset: int) -> None:
        """Fill a room (bytes) with what lies from an offset on.

        Raises
        ------
        InputError
            When the file ends before.
        """
        while room:
            read = os.preadv(self._file.fileno(), [room], offset)
            if not read:
                raise InputError(self.name, "became shorter while it was read", "leave it as it is until the end")
            offset, room = offset + read, room[read:]


class Scratch(HeldFile):
    """A temporary file without a name, so that nothing is left of it however the process ends.

    Several threads may read and write at once, each its own bytes.

    Parameters
    ----------
    name : str
        What is kept, for messages.
    fewer : str
        How the user makes it less, for messages.

    Raises
    ------
    InputError
        When none can be made; names TMPDIR.
    """

    def __init__(self, name: str, fewer: str) -> None:
        self._fewer, self._since = fewer, 0
        with self._needs_room(name):
            super().__init__(name, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # open as long as it may be read

    def write(self, content: memoryview | bytes, offset: int, *, where: str | None = None) -> None:
        """Write bytes from an offset on.

        Parameters
        ----------
        content : bytes
        offset : int
        where : str, optional
            What is written, for messages.

        Raises
        ------
        InputError
            When there is no room for it.
        """
        where = where or self.name
        self._leave_room(where, len(content))
        left = memoryview(content)
        while left:
            with self._needs_room(where):
                written = os.pwrite(self._file.fileno(), left, offset)
            offset, left = offset + written, left[written:]

    def _leave_room(self, where: str, more: int) -> None:
        """Raise before the disk is full, which other programs would suffer from."""
        self._since += more
        if self._since < _LOOK:
            return
        self._since, folder = 0, tempfile.gettempdir()
        if (free := shutil.disk_usage(folder).free) < LEFT_FREE:
            found = f"{free} bytes left in {folder} found, expected at least {LEFT_FREE}"
            raise InputError(where, found, f"set TMPDIR, or {self._fewer}")

    @contextmanager
    def _needs_room(self, where: str) -> Iterator[None]:
        """Make one clear error of what the system says of the folder of temporary files."""
        try:
            yield
        except OSError as error:
            found = f"cannot be kept in {tempfile.gettempdir()} ({error.strerror})"
            raise InputError(where, found, f"set TMPDIR, or {self._fewer}") from None
