"""One array of a .npz file: its header is checked, then it is read, or left on the disk."""

from __future__ import annotations

import math
import os
import struct
import tokenize
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from toolchain.data.on_disk import Kept, OnDisk
from toolchain.files.scratch import HeldFile
from toolchain.netlist import FormatError, InputError, Shape

#: Largest array that is held in memory, in bytes.
MAX_BYTES = 1 << 34


@dataclass(frozen=True)
class Member:
    """An array whose header is read.

    Parameters
    ----------
    where : str
        The file and the array, for messages.
    archive : IO
        The whole file.
    stream : IO
        What follows the header.
    info : ZipInfo
    shape : tuple of int
        (N, ...).
    fortran : bool
        Whether the first axis varies fastest.
    dtype : dtype
        As the numbers lie in the file.
    """

    where: str
    archive: IO[bytes]
    stream: IO[bytes]
    info: zipfile.ZipInfo
    shape: Shape
    fortran: bool
    dtype: np.dtype

    def size(self, rows: int) -> int:
        """Return how many bytes the first rows take; a Fortran order has to be read whole."""
        read = self.shape if self.fortran else (rows, *self.shape[1:])
        return math.prod(read) * self.dtype.itemsize

    def array(self, rows: int) -> np.ndarray:
        """Read the first rows.

        Raises
        ------
        InputError
            When they take more than `MAX_BYTES`.
        FormatError
            When the file ends before them.
        """
        if (size := self.size(rows)) > MAX_BYTES:
            advice = "use `limit`, or split the file"
            raise InputError(self.where, f"{size} bytes found, expected at most {MAX_BYTES}", advice)
        array = np.empty(self.shape[::-1] if self.fortran else (rows, *self.shape[1:]), self.dtype)
        # Straight into the array, so that a stream that ends early costs no more than it holds.
        view, position = array.reshape(-1).view(np.uint8).data, 0
        for part in self._parts(size):
            view[position : position + len(part)] = part
            position += len(part)
        return (array.T[:rows] if self.fortran else array).astype(self.dtype.newbyteorder("="), copy=False)

    def on_disk(self, rows: int) -> OnDisk:
        """Go through the first rows once, which finds what is damaged, and leave them where they can be read.

        That is the file itself, or where it is compressed a temporary one. Only of arrays in C order.

        Raises
        ------
        InputError
            When there is no room for a temporary file.
        FormatError
            When the file ends before them.
        """
        begin = self.stream.tell()
        shape = (rows, *self.shape[1:])
        if self.info.compress_type == zipfile.ZIP_STORED:
            for _ in self._parts(self.size(rows)):
                pass
            # The same file, also where another one takes its name meanwhile.
            file = os.fdopen(os.dup(self.archive.fileno()), "rb")
            return OnDisk(HeldFile(self.where, file), self._content() + begin, shape, self.dtype)
        kept = Kept(self.where)
        for part in self._parts(self.size(rows)):
            kept.append(part, self.where)
        return kept.read(shape, self.dtype)

    def _content(self) -> int:
        """Return where the content begins: behind a header of 30 bytes and two fields whose lengths it says.

        Source: PKWARE's APPNOTE.TXT, section 4.3.7.
        """
        header = os.pread(self.archive.fileno(), 30, self.info.header_offset)
        return int(self.info.header_offset) + 30 + sum(struct.unpack("<HH", header[26:]))

    def _parts(self, size: int) -> Iterator[bytes]:
        """Yield the next bytes in parts; raise FormatError where they are not there."""
        position = 0
        while position < size:
            part = self.stream.read(min(1 << 20, size - position))
            if not part:
                raise FormatError(self.where, f"ends after {position} of {size} bytes")
            yield part
            position += len(part)


@contextmanager
def opened(
    archive: zipfile.ZipFile, file: IO[bytes], where: str, key: str, dtypes: Collection[Any]
) -> Iterator[Member]:
    """Open an array and check its header.

    Parameters
    ----------
    archive : ZipFile
    file : IO
        What it is read from.
    where : str
        The file's name, for messages.
    key : str
        The array's name.
    dtypes : collection of dtype
        What it may hold.

    Raises
    ------
    InputError
        When it holds something else.
    FormatError
        When its header is damaged, or claims another size than is stored.
    """
    where = f"{where}:{key}"
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as stream:
        shape, fortran, dtype = _read_header(where, stream)
        if dtype.hasobject or dtype.newbyteorder("=") not in [np.dtype(d) for d in dtypes]:
            allowed = ", ".join(np.dtype(d).name for d in dtypes)
            raise InputError(where, f"{dtype} found, expected one of {allowed}")
        if not shape or len(shape) > 6 or min(shape) < 0:
            raise InputError(where, f"shape {shape} found, expected (N, ...)")
        size, stored = math.prod(shape) * dtype.itemsize, info.file_size - stream.tell()
        if stored != size:
            raise FormatError(where, f"{stored} bytes stored, expected {size} for shape {shape}")
        yield Member(where, file, stream, info, shape, fortran, dtype)


def _read_header(where: str, stream: IO[bytes]) -> tuple[Shape, bool, np.dtype]:
    headers: Any = np.lib.format  # numpy leaves these functions untyped
    version = headers.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise FormatError(where, f"version {version} of the .npy format found, expected 1.0 or 2.0")
    read = headers.read_array_header_1_0 if version == (1, 0) else headers.read_array_header_2_0
    try:
        shape, fortran, dtype = read(stream)
    except (SyntaxError, tokenize.TokenError, RecursionError, MemoryError, TypeError, AttributeError, IndexError):
        # numpy reads the header as Python literals, with the errors of Python's parser.
        raise FormatError(where, "the header of the array is damaged") from None
    return tuple(shape), bool(fortran), dtype
