"""Texts of variable length in HDF5 files, read without the HDF5 library.

The library (2.0) trusts what a file says of them: a length of four gigabytes is allocated, and a free object of size 0
in a heap is an endless loop. Both are a few changed bytes away from a good file, so texts are read here
(HDF5 file format specification, sections III.E "Global Heap" and VIII.A "Variable-length").
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path

from h5py import h5d

from toolchain.netlist.errors import FormatError

#: Bytes of a text in its dataset: length (4), address of its heap (8), number in that heap (4).
DESCRIPTOR = 16
#: Longest text.
MAX_TEXT = 1 << 24
#: Files smaller than this are searched for heaps to the letter.
HEAP_SCAN = 1 << 28
_HEADER = 16


class TextHeap:
    """Reads the texts of one file.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._collections: dict[int, dict[int, bytes]] = {}

    def texts(self, where: str, dataset: h5d.DatasetID) -> list[bytes]:
        """Return the texts of a dataset of variable-length strings, in C order.

        Raises
        ------
        FormatError
            When a text is not where the dataset says.
        """
        count = math.prod(dataset.shape)
        offset = dataset.get_offset()
        if offset is None or dataset.get_create_plist().get_layout() != h5d.CONTIGUOUS:
            raise FormatError(where, "holds texts in a layout that is not read")
        with self._path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            raw = data[offset : offset + count * DESCRIPTOR]
            if len(raw) != count * DESCRIPTOR:
                raise FormatError(where, "ends before its last text")
            return [self._text(where, data, raw[i : i + DESCRIPTOR]) for i in range(0, len(raw), DESCRIPTOR)]

    def _text(self, where: str, data: mmap.mmap, descriptor: bytes) -> bytes:
        length, address, number = (int.from_bytes(descriptor[a:b], "little") for a, b in ((0, 4), (4, 12), (12, 16)))
        if length == 0:
            return b""
        if address not in self._collections:
            self._collections[address] = dict(_objects(where, data, address))
        found = self._collections[address].get(number)
        if found is None or not length <= min(len(found), MAX_TEXT):
            raise FormatError(where, f"a text of {length} bytes is not where it should be")
        return found[:length].rstrip(b"\0")


def _objects(where: str, data: mmap.mmap, start: int) -> list[tuple[int, bytes]]:
    """Walk through a heap collection; every step gets on, or the file is refused."""
    if data[start : start + 5] != b"GCOL\x01":
        raise FormatError(where, "its texts are in no heap")
    end = start + int.from_bytes(data[start + 8 : start + _HEADER], "little")
    position, found = start + _HEADER, []
    while position + _HEADER <= min(end, len(data)):
        index = int.from_bytes(data[position : position + 2], "little")
        size = int.from_bytes(data[position + 8 : position + _HEADER], "little")
        step = size if index == 0 else _HEADER + (size + 7) // 8 * 8
        if step < _HEADER or position + step > min(end, len(data)):
            raise FormatError(where, f"the heap of texts at byte {start} is damaged")
        if index:
            found.append((index, data[position + _HEADER : position + _HEADER + size]))
        position += step
    return found


def check_heaps(path: Path) -> None:
    """Raise if a heap in the file would keep the HDF5 library busy for ever.

    For the texts that the library still reads itself: attributes of traces.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(b"GCOL")
        while start >= 0:
            # In a large file the four letters and the version turn up by chance; there the reserved bytes count too.
            header = data[start + 4 : start + 8]
            if header[:1] == b"\x01" and (len(data) < HEAP_SCAN or header[1:] == bytes(3)):
                _objects(path.name, data, start)
            start = data.find(b"GCOL", start + 4)
