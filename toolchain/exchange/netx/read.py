"""A netlist from a netx file (.net): ours back, and slayer's CUBA layers as far as our arithmetic goes.

Lava's CUBA neuron fires one spike when ``v > vThMant`` (in units of a weight) and then forgets all of
v. Without decay that is an AdaFire neuron of phi = 1, whose threshold is the least v that fires, wherever
nothing is forgotten: when a step adds no more than the grain of the weights (their common divisor), or
when a sample has one step. Everything else is refused with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.exchange.loss_report import Imported, Loss, LossReport
from toolchain.exchange.netx.write import ADAFIRE, ADAFIRE_SUM, VERSION
from toolchain.files import Guarded, open_guarded
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    FormatError,
    Input,
    Linear,
    Netlist,
    Operator,
    Population,
    Provenance,
    Readout,
    Reshape,
    Shape,
    UnsupportedError,
    membrane_bound,
    total_current_bound,
)
from toolchain.netlist.graph import MAX_TIMESTEPS
from toolchain.netlist.shapes import size

#: More layers than this are refused.
MAX_LAYERS = 4096

#: Decay in 1/4096 per step: all of it, as a CUBA neuron without current memory has.
ALL = 4096

#: Greatest membrane potential of Lava's LIF, in 1/64 of a weight.
LAVA_LIMIT = 2**23 - 1


def read_netx(path: Path | str, *, timesteps: int | None = None) -> Imported:
    """Read a netx file.

    Parameters
    ----------
    path : path
    timesteps : int, optional
        T for files that are not ours; by default what the file says of its simulation.

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is damaged or contradicts itself.
    UnsupportedError
        When a layer means something that a netlist cannot express; names it.
    """
    with open_guarded(path, "a netx file (.net)") as file:
        return _OwnFile(file).read() if "adafire" in file else _SlayerFile(file, timesteps).read()


def _text(group: Guarded, name: str) -> str:
    found = group.texts(name)
    if found.size != 1:
        raise FormatError(group.at(name), f"{found.size} texts found, expected one")
    return str(found.ravel()[0])


def _integers(group: Guarded, name: str) -> np.ndarray:
    """Read integers, also where a float type carries them."""
    values = np.asarray(group.value(name))
    if values.dtype.kind not in "iufb":
        raise FormatError(group.at(name), "expected integers")
    if not np.all(np.isfinite(values)) or np.any(values != np.rint(values)) or np.any(np.abs(values) > 2**52):
        raise FormatError(group.at(name), "expected integers, found other numbers")
    return values.astype(np.int64)


def _integer(group: Guarded, name: str) -> int:
    values = _integers(group, name)
    if values.size != 1:
        raise FormatError(group.at(name), f"{values.size} numbers found, expected one")
    return int(values.ravel()[0])


def _shape(group: Guarded, name: str) -> Shape:
    return tuple(int(n) for n in _integers(group, name).ravel())


@dataclass(frozen=True)
class _FileLayer:
    """A layer with a connection, and whether the one before is flattened first."""

    group: Guarded
    kind: str
    flatten: bool


class _NetxFile:
    """The layers of a file, in order."""

    def __init__(self, file: Guarded) -> None:
        self.file = file
        self.layers: list[_FileLayer] = []
        self.input_shape: Shape | None = None
        root = file.child("layer")
        count = len(root.names())
        if not 1 <= count <= MAX_LAYERS:
            raise FormatError(root.where, f"{count} layers found, expected 1 to {MAX_LAYERS}")
        flatten = False
        for index in range(count):
            group = root.child(str(index))
            kind = _text(group, "type")
            match kind:
                case "input" if index == 0:
                    if "neuron" in group:
                        raise UnsupportedError(group.where, "an input layer with neurons has no counterpart")
                    self.input_shape = _shape(group, "shape")
                case "flatten":
                    flatten = True
                case "conv" | "dense":
                    self.layers.append(_FileLayer(group, kind, flatten))
                    flatten = False
                case _:
                    raise UnsupportedError(group.where, f"a layer of type {kind!r:.40} has no counterpart")
        if not self.layers:
            raise FormatError(root.where, "there is no conv or dense layer")

    def operators(self, layer: _FileLayer, before: Shape) -> tuple[Operator, ...]:
        """Return what a layer does to a population of shape `before`."""
        group = layer.group
        weight = _integers(group, "weight")
        if "delay" in group and np.any(np.asarray(group.value("delay")) >= 1):
            raise UnsupportedError(group.where, "synaptic delays have no counterpart")
        if layer.kind == "dense":
            features = _shape(group, "shape")
            matrix = weight.reshape(size(features), -1) if weight.size else weight
            reshape = (Reshape((size(before),)),) if layer.flatten and len(before) > 1 else ()
            return (*reshape, Linear(matrix))
        if weight.ndim == 5:
            # slayer's kernels have a time axis of one step.
            weight = weight[..., 0]
        if weight.ndim != 4:
            raise FormatError(group.at("weight"), f"{weight.ndim} axes found, expected (C_out, C_in, H, W)")
        stride, padding, dilation = (self._pair(group, name) for name in ("stride", "padding", "dilation"))
        return (Conv(weight, stride, tuple((p, p) for p in padding), dilation, _integer(group, "groups")),)

    def _pair(self, group: Guarded, name: str) -> tuple[int, int]:
        values = _shape(group, name)
        if len(values) not in (1, 2):
            raise FormatError(group.at(name), f"{len(values)} numbers found, expected one or two")
        return (values[0], values[-1])

    def shape_of(self, layer: _FileLayer) -> Shape:
        """Return a layer's shape; slayer writes flat ones as (features, 1, 1)."""
        shape = _shape(layer.group, "shape")
        return (size(shape),) if layer.kind == "dense" else shape


class _OwnFile(_NetxFile):
    """A file that `write_netx` wrote."""

    def read(self) -> Imported:
        header = self.file.child("adafire")
        version = header.attribute("version")
        if version != VERSION:
            raise FormatError(header.where, f"version {version} found, expected {VERSION}", "use a newer adafire")
        if self.input_shape is None:
            raise FormatError(self.file.where, "there is no input layer")
        populations: list[Population] = [self._input(header, self.input_shape)]
        connections: list[Connection] = []
        for layer in self.layers:
            operators = self.operators(layer, populations[-1].shape)
            population = self._population(layer)
            connections.append(Connection(populations[-1].name, population.name, operators))
            populations.append(population)
        netlist = Netlist(
            tuple(populations),
            tuple(connections),
            header.integer("timesteps"),
            weight_bits=header.integer("weight_bits"),
            membrane_bits=header.integer("membrane_bits"),
            alpha=tuple(float(a) for a in header.array("alpha").astype(np.float64).ravel()),
            provenance=Provenance(imported=self.file.file),
        )
        if header.attribute("content_hash") != netlist.content_hash:
            raise FormatError(header.where, "its content is not what its hash says", "export it again")
        return Imported(netlist, LossReport("netx", ()))

    def _input(self, header: Guarded, shape: Shape) -> Input:
        coding, name, scale = (header.attribute(n) for n in ("coding", "input", "input_scale"))
        if not isinstance(scale, float) or not isinstance(name, str):
            raise FormatError(header.where, "input or input_scale is not what it should be")
        mean, std = (header.array(n).astype(np.float64) for n in ("mean", "std"))
        signed = bool(header.integer("input_signed"))
        return Input(name, shape, header.integer("input_bits"), signed, scale, mean, std, coding)

    def _population(self, layer: _FileLayer) -> AdaFire | Readout:
        shape, neuron = self.shape_of(layer), layer.group.child("neuron")
        kind, name = _text(neuron, "type"), _text(neuron, "population")
        bias, scale = _integers(layer.group, "bias"), neuron.array("scale").astype(np.float64)
        if kind == ADAFIRE_SUM:
            return Readout(name, shape, bias, scale)
        if kind != ADAFIRE:
            raise FormatError(neuron.at("type"), f"{kind!r:.40} found, expected {ADAFIRE} or {ADAFIRE_SUM}")
        return AdaFire(
            name,
            shape,
            _integer(neuron, "phi"),
            _integers(neuron, "vThMant"),
            bias,
            _integers(neuron, "vInit"),
            scale,
        )


def _grain(layer: _FileLayer, bias: np.ndarray) -> int:
    """Return the greatest common divisor of a layer's weights and biases, at least 1."""
    weight = _integers(layer.group, "weight")
    return max(1, int(np.gcd.reduce(np.concatenate([weight.ravel(), bias.ravel()]))))


class _SlayerFile(_NetxFile):
    """A file that slayer exported: CUBA layers, binary spikes in, spike counts or a running sum out."""

    def __init__(self, file: Guarded, timesteps: int | None) -> None:
        super().__init__(file)
        if timesteps is None:
            if "simulation" not in file:
                raise UnsupportedError(file.file, "the file does not say how many timesteps to run", "say `timesteps`")
            timesteps = _integer(file.child("simulation"), "tSample")
        if not 1 <= timesteps <= MAX_TIMESTEPS:
            raise FormatError(file.file, f"{timesteps} timesteps found, expected 1 to {MAX_TIMESTEPS}")
        self.timesteps = timesteps

    def read(self) -> Imported:
        shape = self.input_shape or self._first_shape()
        ones = np.ones(shape[0])
        populations: list[Population] = [Input("input", shape, 1, False, 1.0, ones - 1, ones, "frames")]
        connections: list[Connection] = []
        for index, layer in enumerate(self.layers):
            operators = self.operators(layer, populations[-1].shape)
            self._check_rounding(layer, operators)
            population = self._population(layer, last=index == len(self.layers) - 1)
            connections.append(Connection(populations[-1].name, population.name, operators))
            populations.append(population)
        last = populations[-1]
        if not isinstance(last, Readout):
            counts = Readout("count", last.shape, np.zeros(last.shape[0], np.int64), np.ones(last.shape[0]))
            connections.append(Connection(last.name, counts.name, ()))
            populations.append(counts)
        reach = max(
            (int(np.abs(o.weight).max()) for c in connections for o in c.operators if isinstance(o, Conv | Linear)),
            default=0,
        )
        bits = max(8, reach.bit_length() + 1)
        if bits > 16:
            raise UnsupportedError(self.file.file, f"weights reach {reach}, more than 16 bits hold")
        netlist = Netlist(
            tuple(populations),
            tuple(connections),
            self.timesteps,
            weight_bits=bits,
            provenance=Provenance(imported=self.file.file),
        )
        for layer, built in zip(self.layers, netlist.populations[1:], strict=False):
            self._check_neuron(layer, netlist, built)
        notes = (
            Loss("graph", "lava-dl", "input spikes are taken as binary, one frame per timestep"),
            Loss("graph", "lava-dl", "values are Lava's, whose threshold is '>'; slayer trains with '>='"),
        )
        return Imported(netlist, LossReport("netx", notes))

    def _first_shape(self) -> Shape:
        first = self.layers[0]
        if first.kind == "conv":
            raise UnsupportedError(first.group.where, "there is no input layer, so the map's size is not in the file")
        features = size(self.shape_of(first))
        return (_integers(first.group, "weight").size // max(features, 1),)

    def _check_rounding(self, layer: _FileLayer, operators: tuple[Operator, ...]) -> None:
        """Raise where Lava's Dense would round: weights of both signs keep an even part beyond +-127."""
        weight = operators[-1].weight if isinstance(operators[-1], Linear) else np.zeros(1, np.int64)
        large = np.abs(weight) > 127
        if weight.min() < 0 < weight.max() and large.any() and np.any(weight % 2):
            raise UnsupportedError(
                layer.group.at("weight"), "odd weights beside weights beyond 127: Lava would drop their lowest bit"
            )

    def _neuron(self, layer: _FileLayer) -> dict[str, int] | None:
        """Return a layer's neuron parameters; None for lava-dl's default, an integrator."""
        if "neuron" not in layer.group:
            return None
        neuron = layer.group.child("neuron")
        kind = _text(neuron, "type")
        if kind not in ("CUBA", "LOIHI"):
            raise UnsupportedError(neuron.where, f"neurons of type {kind!r:.40} have no counterpart, only CUBA has")
        for name in ("weight_exp", "sigma_output"):
            if name in neuron:
                raise UnsupportedError(neuron.at(name), "has no counterpart")
        values = {}
        for name in ("iDecay", "vDecay", "vThMant"):
            found = np.unique(_integers(neuron, name))
            if found.size != 1:
                raise UnsupportedError(neuron.at(name), "differs from neuron to neuron, which Lava's LIF cannot hold")
            values[name] = int(found[0])
        if values["iDecay"] != ALL:
            raise UnsupportedError(neuron.at("iDecay"), f"a current that decays by {values['iDecay']}/{ALL} per step")
        if values["vDecay"] != 0:
            raise UnsupportedError(
                neuron.at("vDecay"), f"a leak of {values['vDecay']}/{ALL} per step; AdaFire has none"
            )
        if "refDelay" in neuron and _integer(neuron, "refDelay") > 1:
            raise UnsupportedError(neuron.at("refDelay"), "a refractory period; AdaFire has none")
        if "gradedSpike" in neuron and _integer(neuron, "gradedSpike"):
            raise UnsupportedError(neuron.at("gradedSpike"), "graded CUBA spikes carry a potential, not a count")
        return values

    def _population(self, layer: _FileLayer, *, last: bool) -> AdaFire | Readout:
        shape, values = self.shape_of(layer), self._neuron(layer)
        name = f"layer{layer.group.group.name.rsplit('/', 1)[-1]}"
        bias = _integers(layer.group, "bias") if "bias" in layer.group else np.zeros(shape[0], np.int64)
        silent = values is None or values["vThMant"] << 6 >= LAVA_LIMIT
        if silent and not last:
            raise UnsupportedError(layer.group.where, "a layer inside the network that never fires")
        if values is None and bias.any():
            raise UnsupportedError(
                layer.group.at("bias"), "lava-dl's integrator adds its bias once, a readout each step"
            )
        ones = np.ones(shape[0])
        if values is None or silent:
            return Readout(name, shape, bias, ones)
        # The least potential that fires: what can occur are the multiples of the grain.
        grain = _grain(layer, bias)
        theta = np.full(shape[0], (values["vThMant"] // grain + 1) * grain)
        return AdaFire(name, shape, 1, theta, bias, np.zeros(shape[0], np.int64), ones)

    def _check_neuron(self, layer: _FileLayer, netlist: Netlist, population: Population) -> None:
        """Raise where Lava's neuron and ours differ on this network."""
        if membrane_bound(netlist, population.name).magnitude << 6 >= LAVA_LIMIT:
            raise UnsupportedError(layer.group.where, "its membrane potential can reach Lava's limit of 24 bits")
        most = int(total_current_bound(netlist, population.name).high.max())
        if not isinstance(population, AdaFire) or self.timesteps == 1:
            return
        excess = most - _grain(layer, population.bias)
        if excess > 0:
            raise UnsupportedError(
                layer.group.where,
                f"CUBA neurons reset to zero and lose what exceeds the threshold, here up to {excess}; "
                "AdaFire subtracts the threshold and keeps it",
                "train with reset by subtraction, or convert the network before its spikes",
            )
