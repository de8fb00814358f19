"""The recipe: everything that decides a conversion, besides the network and the data.

Light on purpose: the command line makes its options from these fields, and its help must not wait for torch.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from hw_targets.target import Target, load_target
from toolchain.netlist import InputError, NetlistError, Radix, SpikeCode, TaskName
from toolchain.netlist.provenance import Scalar
from toolchain.specs import parse_names


def _about(text: str, least: float | None = None, most: float | None = None) -> dict[str, Any]:
    """Return what the command line's help says of a field, and the range that its value keeps to."""
    return {"help": text, "min": least, "max": most}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a conversion, besides the network and the data.

    The command line's `adafire convert` has an option for each field, by the same name and with the same default.

    Parameters
    ----------
    spike_code : {"rate", "radix"}
        What bursts say: how often, or the digits of a number (semantics, section 10).
    timesteps : int, optional
        T, 8 by default; not in radix code, whose window has as many timesteps as digits.
    digits : int, optional
        K, in radix code only.
    phi : int, optional
        Longest burst of every population. By default 4, and longer in those layers where the netlist's agreement with
        the ANN demands it (`toolchain.convert.bursts`), unless a search chooses; 1 in radix code, whose digits are in
        base phi + 1.
    init : {"half", "zero", "spread"}
        Initial membrane potential (semantics, section 2).
    threshold : {"mse", "max", "percentile"}
        How thresholds are chosen: eq. 13, the largest activation, its 99.9th percentile.
    threshold_per_layer : bool
        One threshold for all channels of a layer.
    calibrate : {"light", "advanced", "none"}
        Biases (eq. 14); weights, thresholds and initial potentials as well; nothing.
    weight_bits : int
        Width of the signed weights.
    target : str or Target, optional
        Hardware target whose field widths are kept: its name, or the path of a target file.
    normalize : str
        MEAN/STD of pictures in [0, 1], cifar10, imagenet, or none for 0..255 as they are
        (`toolchain.data.parse_normalization`); by default pictures stay in [0, 1].
    samples : int
        Size of the calibration set, drawn from the data by `seed`; searches measure on as many more.
    seed : int
    search : bool
        Whether to search how layers fire, within `budget`.
    phi_max : int, optional
        Longest burst that a search may use; by default twice `phi`, as far as the target's payload goes.
    phi_min : int
        Shortest longest burst of a layer, for strategy "layers".
    budget : float
        Synaptic operations relative to uniform `phi`.
    compress : bool
        Whether to save operations within `tolerance`.
    tolerance : float
        Increase of the divergence from the ANN that compression may cost, as measured.
    strategy : {"channels", "layers"}
        Thresholds per channel at one cost per operation, or phi and rho per layer as in the paper.
    pieces : int, optional
        Pieces of an activation other than ReLU, at most; by default as few as are good (`toolchain.pieces`).
    freeze_gates : bool
        Whether gates (squeeze-and-excitation and the like) may become their means on the calibration data.
    early_exit : bool
        Whether samples may stop early.
    alpha_base : float, optional
        Of eq. 15; by default alpha is fitted (`toolchain.calibrate.early_exit`).
    outputs : str, optional
        Where the network ends, if not at its own outputs: names with commas between them, of tensors or nodes of an
        ONNX graph, or of modules.
    task : TaskName, optional
        What the network is for, which decides how it is scored and what a search compares; by default classification,
        where its only output is a list of classes.
    classes : str, optional
        What its classes are called, in the order of the outputs: names with commas between them, or a file with a
        name on every line.
    accept_collapse : bool
        Whether a netlist that does not compute what the ANN does (`toolchain.convert.agreement`) is taken as it is,
        with a note, and not refused.
    memory : float
        Gibibytes of activations in memory, of which half a gibibyte is for those at work; of what is kept besides, what
        goes beyond is kept in temporary files (`toolchain.calibrate.storage`). It changes nothing about the result.
    executor : str
        Where strategy "layers" measures, as `toolchain.workers.run_tasks` takes it.
    cache : Path, optional
        Folder of its measurements, to resume from; by default the user's cache folder.

    Raises
    ------
    InputError
        When a field is out of range, or two of them contradict each other; it is named.
    """

    spike_code: SpikeCode = field(
        default="rate", metadata=_about("What bursts say: a rate, or in radix code the digits of a number.")
    )
    timesteps: int | None = field(
        default=None, metadata=_about("Length of one inference, of rates.  [default: 8]", 1, 4096)
    )
    digits: int | None = field(
        default=None, metadata=_about("Digits of a number, of `spike_code` radix: the length of its window.", 1, 8)
    )
    phi: int | None = field(
        default=None,
        metadata=_about(
            "Longest burst; digits are in base phi + 1.  [default: 4, and longer in layers that need it; of digits 1]",
            1,
            255,
        ),
    )
    init: Literal["half", "zero", "spread"] = field(default="half", metadata=_about("Initial membrane potential."))
    threshold: Literal["mse", "max", "percentile"] = field(
        default="mse", metadata=_about("How thresholds are chosen (mse: eq. 13).")
    )
    threshold_per_layer: bool = field(default=False, metadata=_about("One threshold for all channels of a layer."))
    calibrate: Literal["light", "advanced", "none"] = field(
        default="advanced",
        metadata=_about("light: biases (eq. 14); advanced: weights, thresholds and initial potentials as well."),
    )
    weight_bits: int = field(default=8, metadata=_about("Width of the signed weights.", 2, 16))
    target: Target | str | None = field(default=None, metadata=_about("Hardware target, or the path of a target file."))
    normalize: str = field(
        default="0/1",
        metadata=_about("MEAN/STD of pictures in [0, 1], cifar10, imagenet, or none: the numbers 0..255 as they are."),
    )
    samples: int = field(default=1024, metadata=_about("Size of the calibration set.", 1))
    seed: int = field(default=0, metadata=_about("Draws the calibration set."))
    search: bool = field(default=False, metadata=_about("Search how layers fire, within `budget`."))
    phi_max: int | None = field(
        default=None, metadata=_about("Longest burst a search may use.  [default: twice `phi`]", 1, 255)
    )
    phi_min: int = field(default=1, metadata=_about("Least phi of a layer (`strategy` layers).", 1, 255))
    budget: float = field(
        default=1.0, metadata=_about("Operations that `search` may spend, relative to uniform `phi`.")
    )
    compress: bool = field(default=False, metadata=_about("Save operations within `tolerance`."))
    tolerance: float = field(
        default=0.02, metadata=_about("Divergence from the ANN that `compress` may add, as measured.")
    )
    strategy: Literal["channels", "layers"] = field(
        default="channels",
        metadata=_about("channels: thresholds per channel at one cost; layers: phi and rho per layer, as the paper."),
    )
    pieces: int | None = field(
        default=None,
        metadata=_about("Pieces of an activation other than ReLU.  [default: as few as are good, at most 4]", 1, 16),
    )
    freeze_gates: bool = field(
        default=False, metadata=_about("Replace gates (squeeze-and-excitation) by their means on the calibration data.")
    )
    early_exit: bool = field(default=False, metadata=_about("Let sure samples stop early."))
    alpha_base: float | None = field(
        default=None, metadata=_about("alpha_base of eq. 15 for `early_exit`.  [default: fit alpha]", 0, 1)
    )
    outputs: str | None = field(
        default=None,
        metadata=_about("Where the network ends: names of tensors (ONNX) or modules.  [default: its own outputs]"),
    )
    task: TaskName | None = field(
        default=None,
        metadata=_about("What the network is for.  [default: classification, of a single list of classes]"),
    )
    classes: str | None = field(
        default=None,
        metadata=_about("Names of its classes in the order of the outputs: a,b,c, or a file with one on every line."),
    )
    accept_collapse: bool = field(
        default=False, metadata=_about("Take a netlist that does not compute what the ANN does as it is, with a note.")
    )
    memory: float = field(
        default=2.0,
        metadata=_about(
            "GiB of activations in memory, 0.5 for those at work; beyond, they go to temporary files (TMPDIR).", 0
        ),
    )
    executor: str = field(
        default="local", metadata=_about("Where `strategy` layers measures: local, local:N or dask://HOST:PORT.")
    )
    cache: Path | None = field(
        default=None, metadata=_about("Folder of measurements, to resume from.  [default: the user's cache folder]")
    )

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(Recipe)
        for option in fields(self):
            _check_field(option.name, getattr(self, option.name), hints[option.name], option.metadata)
        if self.spike_code == "radix":
            self._check_radix()
        elif self.digits is not None:
            raise InputError(
                "digits", f"{self.digits} found, a rate has none", "use `spike_code` radix, or `timesteps`"
            )
        if self.longest_burst < self.most:
            raise InputError("phi_max", f"{self.phi_max} found, expected at least `phi`, {self.most}")
        if self.searches and self.strategy == "channels" and (self.threshold_per_layer or self.threshold != "mse"):
            raise InputError(
                "strategy",
                "channels chooses the threshold of every channel itself, other ways to choose them were asked for",
                "use `strategy` layers, or leave `threshold` and `threshold_per_layer` out",
            )
        if self.outputs is not None and not self.output_names:
            raise InputError("outputs", f"{self.outputs!r} found, expected names with commas between them")
        _ = self.class_names
        if not 1 <= self.phi_min <= self.most:
            raise InputError("phi_min", f"{self.phi_min} found, expected 1 to `phi`, {self.most}")

    def _check_radix(self) -> None:
        if self.digits is None:
            raise InputError("digits", "none found, numbers have some", "say how many `digits`: 5, for a start")
        if self.timesteps is not None:
            raise InputError(
                "timesteps", f"{self.timesteps} found, a window of digits has `digits`", "leave `timesteps` out"
            )
        if self.early_exit:
            raise InputError("early_exit", "numbers are there at the end of a window, not before", "leave it out")
        if self.searches and self.strategy == "layers":
            raise InputError(
                "strategy", "layers tries longer bursts, and digits are all in one base", "use `strategy` channels"
            )
        if self.phi_max is not None:
            raise InputError("phi_max", f"{self.phi_max} found, digits are all in base phi + 1", "leave it out")
        try:
            _ = self.radix
        except NetlistError as error:
            raise InputError("digits", error.problem, error.fix) from None

    @cached_property
    def radix(self) -> Radix | None:
        """Base and digits of numbers; None for rates."""
        return Radix(self.longest + 1, self.digits) if self.spike_code == "radix" and self.digits else None

    @property
    def longest(self) -> int:
        """Longest burst that travels: `phi`, or its default."""
        default = 1 if self.spike_code == "radix" else 4
        return default if self.phi is None else self.phi

    @property
    def most(self) -> int:
        """Greatest payload of a neuron at a timestep, as calibration counts: phi, or the greatest number."""
        return self.longest if self.radix is None else self.radix.greatest

    @property
    def steps(self) -> int:
        """Timesteps of an inference as calibration counts: T, or one for a whole number."""
        return 1 if self.radix is not None else self.timesteps or 8

    @cached_property
    def hardware(self) -> Target | None:
        """The target, read from its file where it was named."""
        return load_target(self.target) if isinstance(self.target, str) else self.target

    @property
    def payload_limit(self) -> int:
        """Longest burst that a spike carries; on a target of binary spikes, which take a step each, `longest`."""
        target = self.hardware
        if target is not None and target.binary:
            return self.longest
        return (target.max_payload if target else None) or 255

    @property
    def output_names(self) -> tuple[str, ...]:
        """Where the network ends, one name each; none for its own outputs."""
        return split_names(self.outputs)

    @cached_property
    def class_names(self) -> tuple[str, ...] | None:
        """What the classes are called; None where nobody said."""
        return parse_names(self.classes)

    @property
    def longest_burst(self) -> int:
        """Longest burst that a search may use."""
        if self.phi_max is not None:
            return self.phi_max
        if self.radix is not None:
            return self.most
        return max(self.longest, min(2 * self.longest, self.payload_limit))

    @property
    def searches(self) -> bool:
        """Whether anything is decided by measuring on held-out samples."""
        return self.search or self.compress

    def settings(self) -> dict[str, Scalar]:
        """Return what decided the netlist as JSON values, for its provenance.

        The normalisation is left out, the netlist's input has it; where measurements ran, how much was kept in memory,
        and what was accepted, decide nothing.
        """
        return {
            **({} if self.radix is None else {"spike_code": self.spike_code, "digits": self.digits}),
            "timesteps": self.digits or self.steps,
            "phi": self.longest,
            "init": self.init,
            "threshold": self.threshold,
            "threshold_per_layer": self.threshold_per_layer,
            "calibrate": self.calibrate,
            "weight_bits": self.weight_bits,
            "target": self.hardware.name if self.hardware else None,
            "samples": self.samples,
            "seed": self.seed,
            **({} if self.pieces is None else {"pieces": self.pieces}),
            **({"freeze_gates": True} if self.freeze_gates else {}),
            "early_exit": self.early_exit,
            "alpha_base": self.alpha_base,
            **({} if self.outputs is None else {"outputs": self.outputs}),
            **(self._search_settings() if self.searches else {}),
        }

    def _search_settings(self) -> dict[str, Scalar]:
        return {
            "strategy": self.strategy,
            "phi_max": self.longest_burst,
            "budget": self.budget if self.search else None,
            "tolerance": self.tolerance if self.compress else None,
        }


def split_names(names: str | None) -> tuple[str, ...]:
    """Take names with commas between them apart."""
    return tuple(filter(None, (name.strip() for name in (names or "").split(","))))


def _check_field(name: str, value: Any, hint: Any, bounds: Mapping[str, Any]) -> None:
    """Raise unless a field holds one of its choices, within its range."""
    choices = [choice for each in (hint, *typing.get_args(hint)) for choice in _choices(each)]
    optional = type(None) in typing.get_args(hint)
    if choices and value not in choices and not (optional and value is None):
        raise InputError(name, f"{value!r} found, expected one of {', '.join(choices)}")
    least, most = bounds["min"], bounds["max"]
    if value is None or least is None:
        return
    if not isinstance(value, int | float) or not least <= value <= (float("inf") if most is None else most):
        expected = f"at least {least}" if most is None else f"{least} to {most}"
        raise InputError(name, f"{value!r} found, expected {expected}")


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return what a field may be one of; nothing where it is of another kind."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
