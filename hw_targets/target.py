"""Hardware targets as data: every number with its source, and unknown ones kept unknown.

A target file (TOML) is one chip, or one system that names its chip and adds what the board adds.
`load_target` reads a shipped one by name or a user's own by path. Numbers are in the chip's units;
`fit_bias` and `fit_threshold` of `hw_targets.fields` translate them to the netlist's.
"""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from toolchain.display import Displayed
from toolchain.netlist.errors import FormatError, InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Where a number comes from, best first.
BASES = {
    "vendor": "stated by the chip's maker in a paper, brief or manual",
    "software": "declared or enforced by the maker's (or a maker-backed) software",
    "measured": "measured on the chip and published",
    "simulated": "from the maker's own simulation of the chip",
    "secondary": "reported by others; no primary source seen",
    "derived": "follows from other numbers of this file, as the source says",
}

Value = int | bool | tuple[int, ...]


@dataclass(frozen=True)
class Fact:
    """One number of a target: its value, or why there is none.

    Parameters
    ----------
    value : int, bool or tuple of int, or None
        None: not known.
    source : str
        Document and place; for an unknown, why it is unknown.
    basis : str
        A key of `BASES`; "unknown" where there is no value.
    note : str
        What a reader must know to use the number.
    """

    value: Value | None
    source: str
    basis: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Target(Displayed):
    """What a chip or system can hold. A field is None where no source states it.

    Parameters
    ----------
    name, title : str
        Short name as options spell it; full name.
    kind : {"chip", "system"}
        A chip sets no limit on the number of chips; a system does.
    chip : str
        Name of the chip's file (its own for a chip).
    payload_bits : int
        Width of a spike's unsigned payload; 1 is a binary spike.
    signed_input : bool
        Whether the input may inject negative payloads.
    weight_bits : tuple of int
        Widths that a signed weight can be stored with, sign included, ascending.
    weight_values_per_neuron : int
        Number of different weights that one neuron can have.
    membrane_bits : int
        Width of the signed membrane potential, in the chip's units.
    accumulator_bits : int
        Width of the signed sum of one timestep's synapses, in the chip's units.
    unit_exponents : tuple of int
        (least, greatest) k: a population may take 2**k of the chip's units as one of the netlist's.
    threshold_mantissa_bits, threshold_exponent
        Unsigned mantissa; (least, greatest) exponent, one per population.
    bias_mantissa_bits, bias_exponent
        Signed mantissa, sign included; (least, greatest) exponent, one per neuron.
    phi : int
        Longest burst that one neuron update can emit.
    neuron_slots : int
        Neurons (compartments) of the chip that one AdaFire neuron takes.
    multiplies_potential : bool
        Whether a neuron can multiply its potential by a base, as digits need: by 2 or more, exactly.
    max_pool : bool
        Whether spiking max-pooling exists.
    delay : int
        Longest delay of a synapse or axon, in the chip's steps.
    fan_in, fan_out : int
        Most synapses into, or targets of, one neuron.
    in_axons_per_core, out_axons_per_core : int
    destinations : int
        Most populations that one population can send to.
    kernel_sizes, strides : tuple of int
        Allowed edge lengths of convolution kernels, and strides.
    square_kernels, dilated_kernels, grouped_kernels, biases : bool
        Whether kernels must be square; whether dilation, groups and biases exist.
    shares_kernels : bool
        Whether a core stores a convolution's kernel once for all positions.
    neurons_per_core : int
    synapse_bytes_per_core : int
        Memory for synapses alone.
    synapse_index_bits : int
        Bits that a stored synapse takes besides its weight.
    memory_bytes_per_core : int
        Memory that synapses, neuron state and axons share.
    state_bytes_per_neuron : int
        Most state that one neuron may have.
    kernel_words_per_core, neuron_words_per_core : tuple of int
        One entry per core where cores differ (DynapCNN).
    bias_words_per_core : int
    cores_per_chip, chips : int
    neurons_per_chip : int
    inputs, outputs : int
        Channels in and out of the chip.
    timesteps : bool
        Whether neurons update once per timestep; without, they fire as inputs arrive.
    weight_exponent : bool
        Whether a connection's stored weights share a power of two.
    leaky : bool
        Whether neurons exist whose current and potential decay.
    decay_shifts : bool
        Whether a decay is a shift: a power of two of the state.
    reset_to_zero, reset_by_subtraction : bool
        How leaky neurons can forget a spike.
    facts : mapping of str to Fact
        Every field above as stored, with its source.
    """

    name: str
    title: str
    kind: Literal["chip", "system"]
    chip: str
    payload_bits: int | None = None
    signed_input: bool | None = None
    weight_bits: tuple[int, ...] | None = None
    weight_values_per_neuron: int | None = None
    membrane_bits: int | None = None
    accumulator_bits: int | None = None
    unit_exponents: tuple[int, ...] | None = None
    threshold_mantissa_bits: int | None = None
    threshold_exponent: tuple[int, ...] | None = None
    bias_mantissa_bits: int | None = None
    bias_exponent: tuple[int, ...] | None = None
    phi: int | None = None
    neuron_slots: int | None = None
    multiplies_potential: bool | None = None
    max_pool: bool | None = None
    delay: int | None = None
    fan_in: int | None = None
    fan_out: int | None = None
    in_axons_per_core: int | None = None
    out_axons_per_core: int | None = None
    destinations: int | None = None
    kernel_sizes: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None
    square_kernels: bool | None = None
    dilated_kernels: bool | None = None
    grouped_kernels: bool | None = None
    biases: bool | None = None
    shares_kernels: bool | None = None
    neurons_per_core: int | None = None
    synapse_bytes_per_core: int | None = None
    synapse_index_bits: int | None = None
    memory_bytes_per_core: int | None = None
    state_bytes_per_neuron: int | None = None
    kernel_words_per_core: tuple[int, ...] | None = None
    neuron_words_per_core: tuple[int, ...] | None = None
    bias_words_per_core: int | None = None
    cores_per_chip: int | None = None
    chips: int | None = None
    neurons_per_chip: int | None = None
    inputs: int | None = None
    outputs: int | None = None
    timesteps: bool | None = None
    weight_exponent: bool | None = None
    leaky: bool | None = None
    decay_shifts: bool | None = None
    reset_to_zero: bool | None = None
    reset_by_subtraction: bool | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict, repr=False)

    @property
    def max_payload(self) -> int | None:
        """Greatest payload of one spike."""
        return None if self.payload_bits is None else 2**self.payload_bits - 1

    @property
    def binary(self) -> bool:
        """Whether spikes carry no payload."""
        return self.payload_bits == 1

    @property
    def netlist_membrane_bits(self) -> int | None:
        """Width of the membrane potential in the netlist's units, where it is widest."""
        return None if self.membrane_bits is None else self.membrane_bits - self.least_unit

    @property
    def least_unit(self) -> int:
        """The least exponent of a population's unit."""
        return 0 if self.unit_exponents is None else self.unit_exponents[0]

    @property
    def cores(self) -> int | None:
        """Cores of the whole target; None when unlimited or unknown."""
        if self.cores_per_chip is None or self.chips is None:
            return None
        return self.cores_per_chip * self.chips

    def to_json(self) -> dict[str, Any]:
        """Return every fact with its source, as JSON values."""
        return {
            "target": self.name,
            "title": self.title,
            "kind": self.kind,
            "chip": self.chip,
            "facts": {
                name: {
                    "value": list(f.value) if isinstance(f.value, tuple) else f.value,
                    "basis": f.basis,
                    "source": f.source,
                    **({"note": f.note} if f.note else {}),
                }
                for name, f in self.facts.items()
            },
        }

    def __rich__(self) -> RenderableType:
        """Show the facts as a table, unknown ones with the reason."""
        from rich.console import Group
        from rich.table import Column, Table

        table = Table(Column("number", no_wrap=True), "value", "basis", "source", title=self.title)
        for name, fact in self.facts.items():
            value = "unknown" if fact.value is None else _spell(fact.value)
            table.add_row(name, value, fact.basis, fact.source + (f" ({fact.note})" if fact.note else ""))
        used = {f.basis for f in self.facts.values()}
        return Group(table, *(f"{basis}: {meaning}" for basis, meaning in BASES.items() if basis in used))


def _spell(value: Value) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{v:,}" for v in value)
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}"


def _data() -> Traversable:
    return resources.files("hw_targets") / "data"


@cache
def available_targets() -> tuple[str, ...]:
    """Return the names of the shipped targets, sorted."""
    return tuple(sorted(f.name.removesuffix(".toml") for f in _data().iterdir() if f.name.endswith(".toml")))


def load_target(name_or_path: str | Path) -> Target:
    """Read a shipped target by name, or a target file by path.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `available_targets`, or a path (anything that ends in ``.toml``).

    Raises
    ------
    InputError
        When there is no such target; a near name is suggested.
    FormatError
        When the file breaks a rule of target files.
    """
    text = str(name_or_path)
    if text in available_targets():
        return _build(text, _parse(text, (_data() / f"{text}.toml").read_bytes()))
    path = Path(text)
    if path.suffix == ".toml":
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise InputError(text, f"cannot read the target file ({error.strerror})") from None
        return _build(text, _parse(text, raw))
    near = difflib.get_close_matches(text.lower().replace("-", "_").replace(" ", "_"), available_targets(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(
        "target",
        f"there is no target {text!r}",
        f"{hint}targets: {', '.join(available_targets())}, or the path of a .toml file",
    )


def _parse(where: str, raw: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(where, f"no valid TOML ({error})") from None


@cache
def _fact_types() -> dict[str, Any]:
    """Type of each field that a [facts.*] table may set, without its None."""
    described = {"name", "title", "kind", "chip", "facts"}
    hints = typing.get_type_hints(Target)
    return {f.name: typing.get_args(hints[f.name])[0] for f in fields(Target) if f.name not in described}


def _build(where: str, table: dict[str, Any]) -> Target:
    unknown = table.keys() - {"name", "title", "chip", "facts"}
    if unknown:
        raise FormatError(where, f"unknown keys {sorted(unknown)}, expected name, title, chip and facts")
    for key in ("name", "title"):
        if not isinstance(table.get(key), str):
            raise FormatError(where, f"{key!r} is missing or no text")
    inherited: Target | None = None
    if "chip" in table:
        if table["chip"] not in available_targets():
            raise FormatError(where, f"chip {table['chip']!r} is no shipped target, expected one of them")
        inherited = load_target(table["chip"])
        if inherited.kind == "system":
            raise FormatError(where, f"chip {inherited.name!r} is a system, expected a chip")
    facts = {**(inherited.facts if inherited else {}), **_facts(where, table)}
    target = Target(
        name=table["name"],
        title=table["title"],
        kind="system" if inherited else "chip",
        chip=inherited.name if inherited else table["name"],
        facts=facts,
        **{name: fact.value for name, fact in facts.items()},  # type: ignore[arg-type]  # typed by _facts
    )
    _check(where, target)
    return target


def _facts(where: str, table: dict[str, Any]) -> dict[str, Fact]:
    entries, expected = table.get("facts", {}), _fact_types()
    if not isinstance(entries, dict):
        raise FormatError(where, "[facts] is no table")
    found = {}
    for name, entry in entries.items():
        place = f"{where}, facts.{name}"
        if name not in expected:
            near = difflib.get_close_matches(name, expected, n=1)
            raise FormatError(place, "no such number", f"did you mean {near[0]!r}?" if near else None)
        found[name] = _fact(place, entry, expected[name])
    return found


def _fact(where: str, entry: Any, kind: Any) -> Fact:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(k, ""), str) for k in ("source", "unknown", "note")):
        raise FormatError(where, "expected {value, source, basis} or {unknown = why}")
    note = entry.get("note", "")
    if "unknown" in entry:
        if entry.keys() - {"unknown", "note"} or not entry["unknown"]:
            raise FormatError(where, "an unknown number has its reason and no other key than 'note'")
        return Fact(None, entry["unknown"], "unknown", note)
    if entry.keys() - {"value", "source", "basis", "note"} or "value" not in entry or not entry.get("source"):
        raise FormatError(where, f"keys {sorted(entry)} found, expected value, source and basis (note if needed)")
    if entry.get("basis") not in BASES:
        raise FormatError(where, f"basis {entry.get('basis')!r} found, expected one of {', '.join(BASES)}")
    return Fact(_typed(where, kind, entry["value"]), entry["source"], entry["basis"], note)


def _typed(where: str, kind: Any, value: Any) -> Value:
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, list) or not value or any(type(v) is not int or v < 0 for v in value):
            raise FormatError(where, f"{value!r} found, expected a list of integers of at least 0")
        return tuple(value)
    if type(value) is not kind or (kind is int and value < 0):
        raise FormatError(where, f"{value!r} found, expected {kind.__name__} of at least 0")
    return typing.cast(Value, value)


def _check(where: str, target: Target) -> None:
    for name in ("threshold_exponent", "bias_exponent", "unit_exponents"):
        pair = getattr(target, name)
        if pair is not None and (len(pair) != 2 or pair[0] > pair[1]):
            raise FormatError(where, f"{name} {list(pair)} found, expected [least, greatest]")
    for name in ("weight_bits", "kernel_sizes", "strides"):
        values = getattr(target, name)
        if values is not None and list(values) != sorted(set(values)):
            raise FormatError(where, f"{name} {list(values)} found, expected ascending numbers")
    for name in ("payload_bits", "membrane_bits", "cores_per_chip", "chips", "neurons_per_core", "neuron_slots"):
        if getattr(target, name) == 0:
            raise FormatError(where, f"{name} is 0, expected at least 1")
