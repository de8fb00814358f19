"""One cloud of points of a file, whatever wrote it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.netlist import AdafireError, BackendError, FormatError, InputError

#: Largest file that is read, in bytes.
MAX_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points as a file holds them.

    Parameters
    ----------
    values : ndarray (P, K), float64
        Numbers of each point, coordinates first.
    faces : ndarray (F, 3), int64
        Corners of triangles between them; none of a plain cloud.
    """

    values: np.ndarray
    faces: np.ndarray


def _plain(values: np.ndarray) -> Cloud:
    return Cloud(values, np.empty((0, 3), np.int64))


def _array(path: Path) -> Cloud:
    found = np.load(path, allow_pickle=False, mmap_mode="r")
    if found.ndim != 2 or found.dtype.kind not in "iuf":
        raise FormatError(str(path), f"an array {found.dtype} {found.shape} found, expected numbers (points, columns)")
    return _plain(np.asarray(found, np.float64))


def _text(path: Path) -> Cloud:
    """Read columns apart by spaces or commas; a first line that is a lone count, as .pts files have it, is skipped."""
    text = path.read_text("utf-8").replace(",", " ")
    first, _, rest = text.partition("\n")
    if len(first.split()) == 1 and first.strip().isdigit() and rest.strip():
        text = rest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about an empty file, which is refused below
        return _plain(np.loadtxt(io.StringIO(text), ndmin=2, comments=("#", "//")))


def _mesh(path: Path) -> Cloud:
    """Read .ply (text and binary) and .off with trimesh; further properties of .ply points follow the coordinates."""
    try:
        import trimesh
    except ImportError:
        raise BackendError(
            "trimesh",
            f"reading {path.suffix} needs the package trimesh, which is not installed",
            "pip install adafire[points]",
        ) from None
    kind = path.suffix.lower()[1:]
    content = io.BytesIO(path.read_bytes())  # from memory: a file may not name others
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how numpy says that a row is no numbers
        loaded: Any = trimesh.load(
            content, file_type=kind, process=False, maintain_order=True, fix_texture=False, skip_materials=True
        )
    vertices = np.asarray(getattr(loaded, "vertices", np.empty((0, 3))), np.float64)
    faces = np.asarray(getattr(loaded, "faces", np.empty((0, 3))), np.int64).reshape(-1, 3)
    element = loaded.metadata.get("_ply_raw", {}).get("vertex", {})
    if element and element["length"] != len(vertices):
        raise FormatError(str(path), f"{len(vertices)} points found, {element['length']} stated")
    held = element.get("data", {})
    names = (held.dtype.names or ()) if isinstance(held, np.ndarray) else tuple(held)
    more = [np.asarray(held[name], np.float64).reshape(len(vertices)) for name in names if name not in ("x", "y", "z")]
    return Cloud(np.column_stack([vertices, *more]), faces)


#: By the name's ending.
READERS: dict[str, Callable[[Path], Cloud]] = {
    ".npy": _array,
    ".off": _mesh,
    ".ply": _mesh,
    ".pts": _text,
    ".txt": _text,
    ".xyz": _text,
}


def read_cloud(path: Path) -> Cloud:
    """Read one cloud of points.

    Parameters
    ----------
    path : Path
        .npy (P, K); .txt, .xyz, .pts with a point on every line; .ply, .off, of meshes too.

    Raises
    ------
    InputError
        When the ending is unknown, or there are no points.
    FormatError
        When it is not what its ending says, or damaged.
    BackendError
        When the package that reads it is not installed.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise InputError(str(path), f"no cloud of points found, expected a file that ends in {', '.join(READERS)}")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            str(path), f"{path.stat().st_size} bytes found, expected at most {MAX_BYTES}", "split the file"
        )
    try:
        cloud = reader(path)
    except AdafireError:
        raise
    except Exception as error:  # noqa: BLE001  # numpy and trimesh raise whatever their parsers hit
        raise FormatError(str(path), f"is no {path.suffix} cloud of points or a damaged one ({error})") from None
    if not len(cloud.values) or cloud.values.shape[1] < 2:
        raise InputError(str(path), f"{cloud.values.shape[0]} points of {cloud.values.shape[1]} numbers found")
    if not np.isfinite(cloud.values).all():
        raise FormatError(str(path), "NaN or infinite coordinates found")
    if cloud.faces.size and not (cloud.faces.min() >= 0 and cloud.faces.max() < len(cloud.values)):
        raise FormatError(str(path), f"faces between points up to {cloud.faces.max()} found, of {len(cloud.values)}")
    return cloud
