"""A data set: pictures, signals, points or event frames, as they are stored, and what is true of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from toolchain.data.truth import UNKNOWN, Truth
from toolchain.data.values import Turned, Values, choose, parts
from toolchain.netlist import Input, InputError, Part, Shape, per_channel


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples as they are stored, with the channel axis first.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    values : Values (N, C, ...) or (N, T, C, ...) for frames
        uint8 pictures, or numbers that are taken as they are. An array, or what reads a slice when it is asked for.
    truth : Truth
        What scores compare with; nothing where samples only calibrate.
    is_frames : bool
        Whether axis 1 is time.
    parts : tuple of Part
        The inputs of a network that takes several, in the order of their names; the values hold them side by side.

    Raises
    ------
    InputError
        When the truth is not of as many samples.
    """

    name: str
    values: Values
    truth: Truth = UNKNOWN
    is_frames: bool = False
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        self.truth.check(self.name, len(self))

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def labels(self) -> np.ndarray | None:
        """Class of every sample, (N,) int64, where it is known."""
        return self.truth.labels

    @property
    def shape(self) -> Shape:
        """Shape of one sample (of one frame), (C, ...)."""
        return tuple(self.values.shape[2 if self.is_frames else 1 :])

    @property
    def frames(self) -> int | None:
        """Frames of a sample; None of data without a time axis."""
        return int(self.values.shape[1]) if self.is_frames else None

    @property
    def is_pictures(self) -> bool:
        """Whether the values are uint8 pictures, to be normalised; all else is taken as it is."""
        return self.values.dtype == np.uint8 and not self.is_frames

    def normalized(self, mean: np.ndarray, std: np.ndarray, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return what the ANN sees of samples, float64.

        Pictures are scaled to [0, 1] and then normalised, ``(x - mean) / std`` per channel; so are parts, whose units
        `std` holds. All other data are the numbers that the network takes.
        """
        part = self.values[start:stop]
        if not (self.is_pictures or self.parts):
            return part.astype(np.float64)
        most = 255.0 if self.is_pictures else 1.0
        return np.asarray((part / most - per_channel(mean, self.shape)) / per_channel(std, self.shape))

    def select(self, samples: np.ndarray) -> Dataset:
        """Return the samples at these positions."""
        return replace(self, values=choose(self.values, samples), truth=self.truth.select(samples))

    def payloads(self, source: Input, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return what a netlist's input emits for samples.

        Parameters
        ----------
        source : Input
        start, stop : int

        Returns
        -------
        ndarray (N, *shape) for direct coding, (T, N, *shape) for frames; int8 or uint8
        """
        return self.encode(source, self.normalized(source.mean, source.std, start, stop))

    def encode(self, source: Input, x: np.ndarray) -> np.ndarray:
        """Return `payloads` of samples that are normalised."""
        payload = source.encode(x)
        return np.ascontiguousarray(np.moveaxis(payload, 1, 0)) if self.is_frames else payload

    @property
    def unlabelled(self) -> Dataset:
        """The same samples, of which nothing is known: for runs that ask for no score, whatever is true."""
        return replace(self, truth=UNKNOWN)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the samples as they are stored, read in parts."""
        return _sha256(part.tobytes() for part in parts(self.values))

    @property
    def sha256_with_truth(self) -> str:
        """SHA-256 (hex) of the samples as they are stored, and then of what is known of them."""
        samples = (part.tobytes() for part in parts(self.values))
        return _sha256(chain(samples, self.truth.content()))

    def batches(self, source: Input, size: int) -> Iterator[np.ndarray]:
        """Yield the payloads of all samples, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.payloads(source, start, start + size)


def _sha256(content: Iterable[bytes]) -> str:
    sha = hashlib.sha256()
    for part in content:
        sha.update(part)
    return sha.hexdigest()


def channels_first(where: str, key: str, values: Values) -> Values:
    """Return samples with the channel axis first, as a `Dataset` has them.

    Parameters
    ----------
    where : str
        What an error names.
    key : {"images", "frames", "points"}
    values : Values
        Images are uint8 (N, H, W, C), or (N, H, W) with one channel, and are turned; uint8 (N, features), numbers of
        other types (N, C, ...), frames (N, T, C, ...) and points (N, C, P) stay as they are.

    Raises
    ------
    InputError
        When there are no samples, a value is not finite, or axes are missing.
    """
    axes = len(values.shape)
    if axes == 0 or values.shape[0] == 0:
        raise InputError(where, f"{key} holds no samples")
    if values.dtype.kind == "f" and not all(np.isfinite(part).all() for part in parts(values)):
        raise InputError(where, f"{key} holds NaN or infinite values", "clean the data first")
    if key == "frames":
        if not 3 <= axes <= 6:
            raise InputError(where, f"frames of shape {values.shape} found, expected (N, T, C, H, W)")
        return values
    if key == "points":
        if axes != 3:
            raise InputError(where, f"points of shape {values.shape} found, expected (N, C, P)")
        return values
    if not 2 <= axes <= 5:
        expected = "uint8 (N, H, W, C) or (N, H, W), or floating (N, C, H, W)"
        raise InputError(where, f"images of shape {values.shape} found, expected {expected}")
    if values.dtype != np.uint8 or axes == 2:
        return values
    turned = Turned(values)
    return turned[:] if isinstance(values, np.ndarray) else turned


def check_data(data: Dataset, source: Input, timesteps: int | None = None, parts: Sequence[Part] | None = None) -> None:
    """Raise unless the data can be run on a netlist's input.

    Parameters
    ----------
    data : Dataset
    source : Input
    timesteps : int, optional
        Frames must be at least as many.
    parts : sequence of Part, optional
        What the netlist takes side by side.

    Raises
    ------
    InputError
        Names the file, what was found and what was expected.
    """
    if data.is_frames != (source.coding == "frames"):
        found, expected = ("frames", "images") if data.is_frames else ("images", "frames")
        raise InputError(data.name, f"{found} found, expected {expected}: the netlist takes {source.coding} coding")
    check_parts(data, parts)
    if data.shape != source.shape:
        alike = data.is_pictures and data.shape[1:] == source.shape[1:] and {data.shape[0], source.shape[0]} == {1, 3}
        fix = f"make the pictures {'RGB' if source.shape[0] == 3 else 'grey'}" if alike else None
        raise InputError(
            data.name, f"samples of shape {data.shape} found, expected {source.shape} (channels first)", fix
        )
    if data.frames is not None and timesteps is not None and data.frames < timesteps:
        raise InputError(data.name, f"{data.frames} frames per sample found, expected at least {timesteps}")


def check_parts(data: Dataset, parts: Sequence[Part] | None) -> None:
    """Raise InputError unless data hold the inputs that are taken side by side; None: one input alone."""
    found, expected = (", ".join(map(str, p or ())) or "one input" for p in (data.parts, parts))
    if found != expected:
        raise InputError(data.name, f"{found} found, expected {expected}", "name the arrays as the network's inputs")
