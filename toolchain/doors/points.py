"""Clouds of points, as many of each, from files and meshes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.data import VOID
from toolchain.display import Progress, silent
from toolchain.doors.annotated import MAX_BYTES, Contents
from toolchain.doors.folder import evenly
from toolchain.doors.point_files import READERS, Cloud, read_cloud
from toolchain.netlist import InputError


@dataclass(frozen=True)
class Sampling:
    """What of a cloud becomes a sample.

    Parameters
    ----------
    points : int, optional
        How many: drawn without repetition while there are enough, evenly by area from a mesh. Without, all of them.
    columns : int
        Numbers of a point, the first ones of the file: 3 for x, y, z.
    label_column : int, optional
        Position of the class of a point in its row, negative from the end. Then points are drawn, not the mesh.
    unit_sphere : bool
        Whether the middle is moved to 0 and the farthest point to distance 1.
    seed : int

    Raises
    ------
    InputError
        When a number is not positive.
    """

    points: int | None = None
    columns: int = 3
    label_column: int | None = None
    unit_sphere: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("points", 1), ("columns", 2), ("seed", 0)):
            if (number := getattr(self, name)) is not None and number < least:
                raise InputError(name, f"{number} found, expected at least {least}")


def read_points(
    source: Path, sampling: Sampling | None = None, *, limit: int | None = None, progress: Progress = silent
) -> Contents:
    """Read clouds of points.

    Parameters
    ----------
    source : Path
        A cloud; a folder of them, without labels; or a folder with a folder of clouds for every class, which may hold
        folders again. Classes are numbered in the order of their names.
    sampling : Sampling, optional
    limit : int, optional
        Most clouds, evenly from all.
    progress : Progress

    Returns
    -------
    Contents
        `points` (N, columns, P) float32; `labels` (N,) of class folders; `point_labels` (N, P) of a column.

    Raises
    ------
    InputError
        When there are no clouds, or they differ in the number of points and `points` is not given.
    FormatError
        When a file is damaged.
    """
    sampling = sampling or Sampling()
    classes, listed = _listed(source)
    chosen = evenly(len(listed), limit)
    clouds: list[np.ndarray] = []
    marks: list[np.ndarray] = []
    with progress("clouds", len(chosen)) as advance:
        for index in chosen:
            path = listed[index][0]
            # By its place in the list, so that a limit does not change what is drawn from a cloud.
            rng = np.random.default_rng([sampling.seed, int(index)])
            values, mark = _sampled(path, read_cloud(path), sampling, rng)
            if clouds and values.shape != clouds[0].shape:
                raise InputError(
                    str(path),
                    f"{values.shape[1]} points found, those before have {clouds[0].shape[1]}",
                    "say with `points` how many to draw",
                )
            if len(chosen) * values.nbytes > MAX_BYTES:
                raise InputError("points", f"more than {MAX_BYTES} bytes of points needed", "use `limit`")
            clouds.append(values)
            marks.append(mark)
            advance()
    arrays = {"points": np.stack(clouds)}
    labels = np.array([listed[index][1] for index in chosen], np.int64)
    if classes:
        arrays["labels"] = labels
    if sampling.label_column is not None:
        arrays["point_labels"] = np.stack(marks)
    return Contents(arrays, {name: int((labels == index).sum()) for index, name in enumerate(classes)})


def _listed(source: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """Return the names of classes, and the clouds with the numbers of theirs."""
    if not source.exists():
        raise InputError(str(source), "no such file or folder", "name a cloud of points, or a folder of them")
    if not source.is_dir():
        return (), [(source, 0)]
    inner = sorted(p for p in source.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [(path, label) for label, part in enumerate(inner or [source]) for path in _clouds(part)]
    if not found:
        raise InputError(str(source), f"no clouds of points found, expected files that end in {', '.join(READERS)}")
    return tuple(p.name for p in inner), found


def _clouds(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in READERS
        and p.is_file()
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    )


def _sampled(path: Path, cloud: Cloud, sampling: Sampling, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a sample, (columns, P) float32, and their classes, (P,) int64."""
    held = cloud.values.shape[1]
    if sampling.columns > held:
        raise InputError(str(path), f"{held} numbers per point found, expected at least {sampling.columns}")
    column = sampling.label_column
    if column is not None and not -held <= column < held:
        raise InputError(str(path), f"{held} numbers per point found, `label_column` {column} is none of them")
    if sampling.points is None:
        values = cloud.values
    elif len(cloud.faces) and column is None and sampling.columns <= 3:
        values = _on_surface(cloud, sampling.points, rng)
    else:
        values = cloud.values[_drawn(len(cloud.values), sampling.points, rng)]
    labels = np.zeros(len(values), np.int64)
    if column is not None:
        found = values[:, column]
        if np.any(found != np.rint(found)) or found.min() < 0 or found.max() > VOID:
            raise InputError(
                str(path),
                f"`label_column` {column} from {found.min()} to {found.max()} found, expected classes 0 to {VOID}",
            )
        labels = found.astype(np.int64)
    taken = values[:, : sampling.columns].copy()
    if sampling.unit_sphere:
        taken[:, :3] = _to_unit_sphere(taken[:, :3])
    with np.errstate(over="ignore"):  # refused next
        points = taken.T.astype(np.float32)
    if not np.isfinite(points).all():
        raise InputError(str(path), "coordinates beyond the range of float32 found")
    return points, labels


def _drawn(count: int, points: int, rng: np.random.Generator) -> np.ndarray:
    """Draw positions of points: each at most once, or, where there are too few, all and some of them again."""
    if points <= count:
        return rng.choice(count, points, replace=False)
    return np.concatenate([np.arange(count), rng.choice(count, points - count)])


def _on_surface(cloud: Cloud, points: int, rng: np.random.Generator) -> np.ndarray:
    """Draw points on a mesh, as many on each triangle as its share of the area.

    Uniform on a triangle by the square root of one of two numbers: R. Osada et al., "Shape distributions" (2002).
    """
    corners = cloud.values[:, :3][cloud.faces]
    sides = corners[:, 1:] - corners[:, :1]
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    if not (total := area.sum()) > 0 or not np.isfinite(total):
        return cloud.values[_drawn(len(cloud.values), points, rng)]
    a, b, c = corners[rng.choice(len(area), points, p=area / total)].transpose(1, 0, 2)
    root, along = np.sqrt(rng.random((points, 1))), rng.random((points, 1))
    return (1 - root) * a + root * (1 - along) * b + root * along * c


def _to_unit_sphere(points: np.ndarray) -> np.ndarray:
    moved = points - points.mean(axis=0)
    farthest = np.sqrt((moved**2).sum(axis=1).max())
    return moved / farthest if farthest > 0 else moved
