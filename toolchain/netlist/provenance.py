"""Provenance: how a netlist came about, as frozen records with one validating reader.

Nothing here decides what a netlist computes, and none of it is hashed. A file may be anyone's: a part that is not
what its record says is neither shown nor lost, it stays in `Provenance.other` as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from toolchain.netlist.activation_records import CurveRecord, FrozenGates
from toolchain.netlist.json_records import dump, hints_of, load, load_fields
from toolchain.netlist.parts import Part
from toolchain.netlist.score_records import StageScores, TaskRecord
from toolchain.netlist.tail import Tail

#: What an option of a recipe can be.
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Origin:
    """The trained network.

    Parameters
    ----------
    name : str
        Its class, or the file that it was read from.
    weights_sha256 : str
        SHA-256 (hex) of its weights.
    ann_macs : int
        Multiply-accumulates per sample, before chains were composed and branches joined.
    ann_macs_with_padding : int or None
        The same with products of padding zeros, which FLOP counters print; older versions did not record it.
    """

    name: str
    weights_sha256: str
    ann_macs: int
    ann_macs_with_padding: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; counts as text, as files have always had them."""
        padded = self.ann_macs_with_padding
        return {
            "class": self.name,
            "weights_sha256": self.weights_sha256,
            "ann_macs": str(self.ann_macs),
            **({} if padded is None else {"ann_macs_with_padding": str(padded)}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Origin:
        """Read `to_json`; raise ValueError where it is something else."""
        name, sha, *macs = (load(str, text) for text in (value["class"], value["weights_sha256"], value["ann_macs"]))
        if "ann_macs_with_padding" in value:
            macs.append(load(str, value["ann_macs_with_padding"]))
        if len(value) != 2 + len(macs) or not all(count.isdecimal() and len(count) <= 18 for count in macs):
            raise ValueError(f"{macs!r} are no counts")
        return cls(name, sha, *map(int, macs))


@dataclass(frozen=True)
class Exits:
    """What stopping early does on one set of samples.

    Parameters
    ----------
    full_agreement, agreement : float
        Share of the ANN's decisions at the last timestep, and at each sample's own exit.
    mean_timesteps : float
    """

    full_agreement: float
    agreement: float
    mean_timesteps: float


@dataclass(frozen=True)
class EarlyExitRecord:
    """How the confidence schedule was chosen.

    Parameters
    ----------
    samples, pairs : Exits
        On samples that calibration did not see, and on means of pairs of them.
    base : float or None
        alpha_base of eq. 15; None where alpha was fitted.
    margin : float or None
        Of the fit.
    """

    samples: Exits
    pairs: Exits
    base: float | None = None
    margin: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; a missing base or margin is null."""
        return {"base": self.base, "margin": self.margin, "samples": dump(self.samples), "pairs": dump(self.pairs)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EarlyExitRecord:
        """Read `to_json`; raise ValueError where it is something else."""
        return load_fields(cls, {key: inner for key, inner in value.items() if inner is not None})


@dataclass(frozen=True)
class Measured:
    """A network measured on data.

    Parameters
    ----------
    divergence : float
        Sensitivity: mean symmetric Kullback-Leibler divergence of its decisions from the ANN's.
    agreement : float
        Share of decisions that are the ANN's.
    operations : float
        Synaptic operations per sample, those of the input left out.
    """

    divergence: float
    agreement: float
    operations: float


@dataclass(frozen=True)
class Predicted:
    """What a surrogate promised: increase of the divergence, and synaptic operations per sample."""

    increase: float
    operations: float


@dataclass(frozen=True)
class Trial:
    """A network that a search built and measured.

    Parameters
    ----------
    measured : Measured
    predicted_operations : float or None
        What its thresholds implied (search per channel).
    predicted : Predicted or None
        What the sums of sensitivities implied (search per layer).
    phi, rho : tuple or None
        The setting of every layer (search per layer).
    """

    measured: Measured
    predicted_operations: float | None = None
    predicted: Predicted | None = None
    phi: tuple[int, ...] | None = None
    rho: tuple[float, ...] | None = None

    @property
    def expected_operations(self) -> float | None:
        """Synaptic operations per sample that were predicted, whichever search it was."""
        return self.predicted_operations if self.predicted is None else self.predicted.operations


@dataclass(frozen=True)
class FiringRecord:
    """The search within a budget of operations.

    Parameters
    ----------
    budget : float
        Relative to uniform phi.
    measured : Measured
        What was chosen.
    candidates : tuple of Trial
    uniform : Measured or None
        Uniform phi (search per layer; else in `SearchRecord`).
    phi : mapping of str to int, or None
        What was chosen for every layer (search per layer).
    """

    budget: float
    measured: Measured
    candidates: tuple[Trial, ...]
    uniform: Measured | None = None
    phi: Mapping[str, int] | None = None


@dataclass(frozen=True)
class CompressionRecord:
    """Spike compression within a tolerance of divergence.

    Parameters
    ----------
    tolerance : float
    before, measured : Measured
        Without compression, and what was chosen.
    candidates : tuple of Trial
    rho : mapping of str to float, or None
        Factor on the threshold of every layer (search per layer).
    """

    tolerance: float
    before: Measured
    measured: Measured
    candidates: tuple[Trial, ...]
    rho: Mapping[str, float] | None = None


@dataclass(frozen=True, eq=False)
class SensitivityTable:
    """Layers by settings, one layer varied at a time.

    Parameters
    ----------
    layers : tuple of str
    settings : tuple of float
        phi or rho.
    divergence, operations : ndarray (layers, settings), float64
        Of the whole network from the ANN; of the layer, per sample.
    base : ndarray (layers,), int64
        Position of each layer's base setting.

    Raises
    ------
    ValueError
        When sizes do not match, a divergence is not finite, or a base is no position.
    """

    layers: tuple[str, ...]
    settings: tuple[float, ...]
    divergence: np.ndarray
    operations: np.ndarray
    base: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.layers), len(self.settings))
        if self.divergence.shape != shape or self.operations.shape != shape or self.base.shape != shape[:1]:
            raise ValueError(f"arrays of {len(self.layers)} layers and {len(self.settings)} settings expected")
        if not np.all(np.isfinite(self.divergence)):
            raise ValueError("a divergence is not finite")
        if self.base.dtype.kind != "i" or np.any(self.base < 0) or np.any(self.base >= len(self.settings)):
            raise ValueError("a base is no position of a setting")

    @property
    def increase(self) -> np.ndarray:
        """Divergence beyond that of the base setting, dS, (layers, settings)."""
        return np.asarray(self.divergence - np.take_along_axis(self.divergence, self.base[:, None], axis=1))


@dataclass(frozen=True)
class SearchRecord:
    """A search of how layers or channels fire.

    Parameters
    ----------
    strategy : str
        "channels" or "layers".
    phi : mapping of str to int
        Longest burst of every layer in the network that was chosen.
    measured : Measured
        That network, on samples that calibration did not see.
    uniform : Measured or None
        Uniform phi (search per channel).
    firing : FiringRecord or None
    firing_table : SensitivityTable or None
    compression : CompressionRecord or None
    compression_table : SensitivityTable or None
    """

    strategy: str
    phi: Mapping[str, int]
    measured: Measured
    uniform: Measured | None = None
    firing: FiringRecord | None = None
    firing_table: SensitivityTable | None = None
    compression: CompressionRecord | None = None
    compression_table: SensitivityTable | None = None


@dataclass(frozen=True)
class Provenance:
    """How a netlist came about; each part is there where it applies.

    Parameters
    ----------
    network : Origin or None
    calibration_data : str or None
        SHA-256 (hex) of the samples that it was calibrated on.
    recipe : mapping of str to Scalar, or None
        The fields of `toolchain.convert.Recipe`, by name.
    adafire : str or None
        Version that converted it.
    notes : tuple of str or None
        Roundings that quantisation was forced to.
    search : SearchRecord or None
    task : TaskRecord or None
    evaluation : StageScores or None
    early_exit : EarlyExitRecord or None
    curves : tuple of CurveRecord or None
        Activations other than ReLU, in order.
    gates : FrozenGates or None
    imported : str or None
        File that it was read from, where another tool wrote that.
    unrolled_from : str or None
        Content hash of the netlist with bursts that it stands for.
    tail : Tail or None
        What the host computes from the readouts.
    parts : tuple of Part or None
        The inputs of a network that takes several, in the order in which they lie in the netlist's one.
    other : mapping of str to Any
        JSON values of names that are none of the above, or not what the records above say.
    """

    network: Origin | None = None
    calibration_data: str | None = None
    recipe: Mapping[str, Scalar] | None = None
    adafire: str | None = None
    notes: tuple[str, ...] | None = None
    search: SearchRecord | None = None
    task: TaskRecord | None = None
    evaluation: StageScores | None = None
    early_exit: EarlyExitRecord | None = None
    curves: tuple[CurveRecord, ...] | None = None
    gates: FrozenGates | None = None
    imported: str | None = None
    unrolled_from: str | None = None
    tail: Tail | None = None
    parts: tuple[Part, ...] | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    @property
    def activations(self) -> tuple[str, ...]:
        """What became of gates and of activations other than ReLU, a line for each."""
        return (*([str(self.gates)] if self.gates else ()), *map(str, self.curves or ()))

    @property
    def target(self) -> str | None:
        """Name of the target that it was converted for."""
        found = (self.recipe or {}).get("target")
        return found if isinstance(found, str) else None

    def to_json(self) -> dict[str, Any]:
        """Return the parts that are there as JSON values."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "other"}
        return {**self.other, **{name: dump(part) for name, part in parts.items() if part is not None}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Provenance:
        """Read `to_json` of this version or an older one; what is something else goes to `other`."""
        record: Any = cls
        hints = {name: hint for name, hint in hints_of(record).items() if name != "other"}
        known: dict[str, Any] = {}
        other: dict[str, Any] = {}
        for name, part in value.items():
            try:
                if name not in hints or part is None:
                    raise ValueError(f"{name} is no part of a provenance")
                known[name] = load(hints[name], part)
            except (ValueError, TypeError, KeyError, OverflowError):
                other[name] = part
        return cls(**known, other=other)
