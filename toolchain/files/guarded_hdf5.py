"""Reading HDF5 files that nobody vouches for: everything is checked before it is allocated.

A `Guarded` group opens only hard links to groups and datasets of numbers or strings; knows how many
bytes a file may claim; inflates compressed chunks itself, so that a small file cannot become a large
array; and turns whatever the HDF5 library raises into one `FormatError` that names file and place.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5t, h5z

from toolchain.files.hdf5_chunks import read_chunked
from toolchain.files.hdf5_heap import DESCRIPTOR, TextHeap, check_heaps
from toolchain.netlist.errors import AdafireError, FormatError, InputError, NetlistError

#: More children than this in one group, or characters in one string, are refused.
MAX_CHILDREN = 100_000
MAX_STRING = 1 << 24
MAX_RANK = 8
#: Deflate cannot compress further than 1,032 to 1; a file that claims more holds no such data.
MAX_RATIO = 1032
#: Largest chunk of a compressed array.
MAX_CHUNK = 1 << 28

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: What h5py lets through from the HDF5 library and from itself when a file is broken.
_LIBRARY_ERRORS = (
    OSError,
    KeyError,
    RuntimeError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    SystemError,
    zlib.error,
)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the errors of the HDF5 library into a `FormatError` at `where`."""
    try:
        yield
    except FormatError:
        raise
    except _LIBRARY_ERRORS as error:
        reason = str(error).strip("'\"").split("\n")[0][:200] or type(error).__name__
        raise FormatError(where, f"damaged or no such HDF5 structure ({reason})") from None


@contextmanager
def whole(where: str) -> Iterator[None]:
    """Turn what a reader stumbles over in a file's values into a `FormatError`.

    Each value is checked by itself; that some do not fit each other can show up in whatever is done with them, or as
    a rule of the netlist that they break.
    """
    try:
        yield
    except NetlistError as error:
        raise FormatError(f"{where}, {error.where}", error.problem, error.fix) from None
    except AdafireError:
        raise
    except (*_LIBRARY_ERRORS, ArithmeticError, AttributeError, IndexError, RecursionError) as error:
        raise FormatError(where, f"does not hold together ({type(error).__name__}: {error!s:.120})") from error


@dataclass
class _Budget:
    """Bytes of array that the rest of the file may still claim, what claimed how many, and where its texts are."""

    left: int
    heap: TextHeap
    claimed: dict[str, int] = field(default_factory=dict)

    def take(self, where: str, count: int) -> None:
        """Charge what is read at `where`, once: it holds no more when it is read again."""
        new = count - self.claimed.get(where, 0)
        if new > self.left:
            raise FormatError(where, f"claims {count} bytes, more than the whole file may hold ({self.left} left)")
        if new > 0:
            self.claimed[where] = count
            self.left -= new


@dataclass(frozen=True)
class Guarded:
    """One group of a file that is being read.

    Parameters
    ----------
    file : str
        The file's name, for messages.
    group : h5py.Group
    """

    file: str
    group: h5py.Group
    _budget: _Budget = field(repr=False)

    @property
    def where(self) -> str:
        """File and place, for messages."""
        return f"{self.file}:{self.group.name}"

    def at(self, name: str) -> str:
        """File and place of a child, for messages."""
        return f"{self.file}:{self.group.name.rstrip('/')}/{name}"

    def names(self) -> list[str]:
        """Names of the children, sorted."""
        with translated(self.where):
            if len(self.group) > MAX_CHILDREN:
                raise FormatError(self.where, f"{len(self.group)} entries found, expected at most {MAX_CHILDREN}")
            return sorted(self.group)

    def attribute_names(self) -> set[str]:
        """Names of the attributes."""
        with translated(self.where):
            if h5a.get_num_attrs(self.group.id) > MAX_CHILDREN:
                raise FormatError(self.where, "too many attributes")
            return set(self.group.attrs)

    def __contains__(self, name: str) -> bool:
        with translated(self.at(name)):
            return bool(self.group.id.links.exists(name.encode()))

    def _open(self, name: str, expected: type) -> Any:
        where = self.at(name)
        with translated(where):
            if not self.group.id.links.exists(name.encode()):
                raise FormatError(where, "is missing")
            if self.group.id.links.get_info(name.encode()).type != h5l.TYPE_HARD:
                raise FormatError(where, "is a link out of its place, which is not followed")
            found = h5o.open(self.group.id, name.encode())
            if not isinstance(found, expected):
                raise FormatError(where, f"{type(found).__name__} found, expected {expected.__name__}")
            return found

    def is_group(self, name: str) -> bool:
        """Return whether a child is a group."""
        return isinstance(self._open(name, object), h5g.GroupID)

    def child(self, name: str) -> Guarded:
        """Open a group in this group."""
        return Guarded(self.file, h5py.Group(self._open(name, h5g.GroupID)), self._budget)

    def attribute(self, name: str, *, variable: bool = False) -> Any:
        """Read an attribute: int, float, bool, str, or an array of integers or floats.

        Texts of variable length, which the HDF5 library reads itself, are taken where `variable` says so.
        """
        where = f"{self.where}@{name}"
        with translated(where):
            if not h5a.exists(self.group.id, name.encode()):
                raise FormatError(where, "is missing")
            opened = h5a.open(self.group.id, name.encode())
            _check_type(where, opened.get_type(), strings=True, variable=variable and opened.shape == ())
            _check_rank(where, opened.shape)
            self._budget.take(where, math.prod(opened.shape) * opened.get_type().get_size())
            return _plain(where, self.group.attrs[name])

    def integer(self, name: str) -> int:
        """Read an attribute that holds one integer."""
        value = self.attribute(name)
        if type(value) is not int:
            raise FormatError(f"{self.where}@{name}", f"{type(value).__name__} found, expected an integer")
        return value

    def text_attribute(self, name: str) -> str:
        """Read an attribute that holds one text."""
        value = self.attribute(name)
        if not isinstance(value, str):
            raise FormatError(f"{self.where}@{name}", f"{type(value).__name__} found, expected a text")
        return value

    def array(self, name: str, *, compressed: bool = False) -> np.ndarray:
        """Read a dataset of integers or floats.

        Parameters
        ----------
        name : str
        compressed : bool
            Whether chunked and deflated arrays are accepted, not only plain ones.
        """
        return self._array(name, self._open(name, h5d.DatasetID), compressed=compressed)

    def _array(self, name: str, dataset: h5d.DatasetID, *, compressed: bool) -> np.ndarray:
        where = self.at(name)
        with translated(where):
            self.check_dataset(name, dataset, compressed=compressed)
            self._budget.take(where, math.prod(dataset.shape) * dataset.dtype.itemsize)
            if dataset.get_create_plist().get_layout() == h5d.CHUNKED:
                return read_chunked(where, dataset)
            array = np.empty(dataset.shape, dataset.dtype)
            if array.size:
                dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
            return array

    def dataset(self, name: str) -> h5d.DatasetID:
        """Open a dataset of numbers, compressed or not, without reading it."""
        dataset = self._open(name, h5d.DatasetID)
        with translated(self.at(name)):
            self.check_dataset(name, dataset, compressed=True)
        return dataset

    def check_dataset(self, name: str, dataset: h5d.DatasetID, *, compressed: bool) -> None:
        """Check type, rank, layout and storage of a dataset of numbers before it is read."""
        where = self.at(name)
        _check_type(where, dataset.get_type(), strings=False)
        _check_rank(where, dataset.shape)
        _check_storage(where, dataset, compressed=compressed)

    def entry(self, name: str) -> Any:
        """Open a child: a `Guarded` for a group, else the dataset's value, as `value` reads it."""
        opened = self._open(name, object)
        if isinstance(opened, h5g.GroupID):
            return Guarded(self.file, h5py.Group(opened), self._budget)
        if isinstance(opened, h5d.DatasetID):
            return self._value(name, opened)
        raise FormatError(self.at(name), f"{type(opened).__name__} found, expected a group or a dataset")

    def value(self, name: str) -> Any:
        """Read a dataset of any form: an array of numbers, or one int, float, bool or str."""
        return self._value(name, self._open(name, h5d.DatasetID))

    def _value(self, name: str, opened: h5d.DatasetID) -> Any:
        where = self.at(name)
        with translated(where):
            if opened.shape != ():
                return self._array(name, opened, compressed=True)
            _check_type(where, opened.get_type(), strings=True, variable=True)
            _check_storage(where, opened, compressed=False)
            if _is_variable(opened.get_type()):
                return _plain(where, self._budget.heap.texts(where, opened)[0])
            return _plain(where, h5py.Dataset(opened)[()])

    def text(self, name: str) -> str:
        """Read a dataset that holds one string."""
        value = self.value(name)
        if not isinstance(value, str):
            raise FormatError(self.at(name), f"{type(value).__name__} found, expected a string")
        return value

    def texts(self, name: str) -> np.ndarray:
        """Read a dataset of strings into an array of str objects."""
        where = self.at(name)
        with translated(where):
            dataset = h5py.Dataset(self._open(name, h5d.DatasetID))
            if dataset.id.get_type().get_class() != h5t.STRING:
                raise FormatError(where, "expected texts")
            _check_type(where, dataset.id.get_type(), strings=True, variable=True)
            _check_rank(where, dataset.shape)
            _check_storage(where, dataset.id, compressed=False)
            self._budget.take(where, math.prod(dataset.shape) * dataset.id.get_type().get_size())
            if _is_variable(dataset.id.get_type()):
                values = self._budget.heap.texts(where, dataset.id)
            else:
                values = [bytes(v) for v in np.atleast_1d(dataset[()]).ravel()]
            found = [_plain(where, v) for v in values]
        return np.array(found, dtype=object).reshape(dataset.shape)


def _is_variable(found: h5t.TypeID) -> bool:
    return bool(found.get_class() == h5t.STRING and found.is_variable_str())


def _check_type(where: str, found: h5t.TypeID, *, strings: bool, variable: bool = False) -> None:
    kind = found.get_class()
    if kind == h5t.STRING and strings:
        if found.is_variable_str() and not variable:
            raise FormatError(where, "variable-length string found, expected a fixed length")
        if not found.is_variable_str() and found.get_size() > MAX_STRING:
            raise FormatError(where, f"string of {found.get_size()} bytes found, expected at most {MAX_STRING}")
        return
    if kind not in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM) or found.get_size() > 8:
        raise FormatError(where, "its type is no integer, float or text of at most 64 bits")
    if kind == h5t.ENUM and found.get_size() != 1:
        raise FormatError(where, "an enumeration was found, expected numbers")


def _check_rank(where: str, shape: tuple[int, ...] | None) -> None:
    if shape is None:
        raise FormatError(where, "is empty")
    if len(shape) > MAX_RANK:
        raise FormatError(where, f"{len(shape)} axes found, expected at most {MAX_RANK}")


def _check_storage(where: str, dataset: h5d.DatasetID, *, compressed: bool) -> None:
    properties: h5p.PropDCID = dataset.get_create_plist()
    layout = properties.get_layout()
    item = dataset.get_type()
    size = math.prod(dataset.shape) * (DESCRIPTOR if _is_variable(item) else item.get_size())
    stored = dataset.get_storage_size()
    if layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED) or properties.get_external_count():
        raise FormatError(where, "its values are outside the file, which is not followed")
    if layout != h5d.CHUNKED:
        if stored != size:
            raise FormatError(where, f"{stored} bytes stored, expected {size} for shape {dataset.shape}")
        return
    if not compressed:
        raise FormatError(where, "is chunked, expected a plain array")
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if any(f not in (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE) for f in filters) or len(filters) > 2:
        raise FormatError(where, f"compressed by filters {filters}, expected gzip", "write it with gzip")
    if stored * MAX_RATIO < size:
        raise FormatError(where, f"{stored} bytes stored for {size} bytes of values: no gzip compresses that far")
    if math.prod(properties.get_chunk()) * dataset.get_type().get_size() > MAX_CHUNK:
        raise FormatError(where, f"chunks of shape {properties.get_chunk()} exceed {MAX_CHUNK} bytes")


def _plain(where: str, value: Any) -> Any:
    if isinstance(value, bytes):
        if len(value) > MAX_STRING:
            raise FormatError(where, f"string of {len(value)} bytes found, expected at most {MAX_STRING}")
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(where, "text is not UTF-8") from None
    if isinstance(value, np.ndarray) and value.dtype.kind not in "iufb":
        raise FormatError(where, f"array of {value.dtype} found, expected numbers")
    return value.item() if isinstance(value, np.generic) else value


def check_signature(path: Path, limit: int, what: str) -> None:
    """Raise unless `path` is a regular HDF5 file of at most `limit` bytes."""
    try:
        if not path.is_file():
            problem = "is a folder or device, expected a file" if path.exists() else "no such file"
            raise InputError(str(path), problem)
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(len(_SIGNATURE))
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror or error}") from None
    if head != _SIGNATURE:
        raise FormatError(str(path), f"is no HDF5 file, expected {what}")
    if size > limit:
        raise FormatError(str(path), f"{size} bytes found, expected at most {limit}")


@contextmanager
def open_guarded(path: Path | str, what: str, *, limit: int = 1 << 33, claims: int | None = None) -> Iterator[Guarded]:
    """Open an HDF5 file for reading.

    Parameters
    ----------
    path : path
    what : str
        What the file should be, for messages: "a netlist".
    limit : int
        Greatest size of the file, in bytes.
    claims : int, optional
        Bytes of array that reading may claim in all; the file's own size by default, which suffices
        for a file without compression.

    Yields
    ------
    Guarded
        The root group.

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When it is no HDF5 file, or too large; in the body, on each fault.
    """
    path = Path(path)
    check_signature(path, limit, what)
    check_heaps(path)
    with translated(str(path)):
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_file_locking(False, True)
        file = h5py.File(h5f.open(str(path).encode(), h5f.ACC_RDONLY, access))
    try:
        if file.userblock_size:
            raise FormatError(path.name, f"begins with {file.userblock_size} bytes that are not HDF5")
        with translated(str(path)):
            root = Guarded(
                path.name, file["/"], _Budget(claims if claims is not None else path.stat().st_size, TextHeap(path))
            )
        with whole(path.name):
            yield root
    finally:
        with translated(str(path)):
            file.close()
