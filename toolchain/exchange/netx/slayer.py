"""Files that slayer exported: CUBA layers, as far as our arithmetic goes.

Lava's CUBA neuron fires one spike when ``v > vThMant`` (in units of a weight) and then forgets all of
v. Without decay that is an AdaFire neuron of phi = 1, whose threshold is the least v that fires, wherever
nothing is forgotten: when a step adds no more than the grain of the weights (their common divisor), or
when a sample has one step. Everything else is refused with the reason.
"""

from __future__ import annotations

import numpy as np

from toolchain.exchange.loss_report import Imported, Loss, LossReport
from toolchain.exchange.netx.layers import FileLayer, NetxFile, read_integer, read_integers, read_text
from toolchain.files import Guarded
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
    Shape,
    UnsupportedError,
    membrane_bound,
    total_current_bound,
)
from toolchain.netlist.graph import MAX_TIMESTEPS
from toolchain.netlist.shapes import size

#: Decay in 1/4096 per step: all of it, as a CUBA neuron without current memory has.
ALL = 4096

#: Greatest membrane potential of Lava's LIF, in 1/64 of a weight.
LAVA_LIMIT = 2**23 - 1


def _grain(layer: FileLayer, bias: np.ndarray) -> int:
    """Return the greatest common divisor of a layer's weights and biases, at least 1."""
    weight = read_integers(layer.group, "weight")
    return max(1, int(np.gcd.reduce(np.concatenate([weight.ravel(), bias.ravel()]))))


class SlayerFile(NetxFile):
    """A file that slayer exported: CUBA layers, binary spikes in, spike counts or a running sum out."""

    def __init__(self, file: Guarded, timesteps: int | None) -> None:
        super().__init__(file)
        if timesteps is None:
            if "simulation" not in file:
                raise UnsupportedError(file.file, "the file does not say how many timesteps to run", "say `timesteps`")
            timesteps = read_integer(file.child("simulation"), "tSample")
        if not 1 <= timesteps <= MAX_TIMESTEPS:
            raise FormatError(file.file, f"{timesteps} timesteps found, expected 1 to {MAX_TIMESTEPS}")
        self.timesteps = timesteps

    def read(self) -> Imported:
        """Return the netlist that Lava's neurons and ours agree on, or raise."""
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
        return (read_integers(first.group, "weight").size // max(features, 1),)

    def _check_rounding(self, layer: FileLayer, operators: tuple[Operator, ...]) -> None:
        """Raise where Lava's Dense would round: weights of both signs keep an even part beyond +-127."""
        weight = operators[-1].weight if isinstance(operators[-1], Linear) else np.zeros(1, np.int64)
        large = np.abs(weight) > 127
        if weight.min() < 0 < weight.max() and large.any() and np.any(weight % 2):
            raise UnsupportedError(
                layer.group.at("weight"), "odd weights beside weights beyond 127: Lava would drop their lowest bit"
            )

    def _neuron(self, layer: FileLayer) -> dict[str, int] | None:
        """Return a layer's neuron parameters; None for lava-dl's default, an integrator."""
        if "neuron" not in layer.group:
            return None
        neuron = layer.group.child("neuron")
        kind = read_text(neuron, "type")
        if kind not in ("CUBA", "LOIHI"):
            raise UnsupportedError(neuron.where, f"neurons of type {kind!r:.40} have no counterpart, only CUBA has")
        for name in ("weight_exp", "sigma_output"):
            if name in neuron:
                raise UnsupportedError(neuron.at(name), "has no counterpart")
        values = {}
        for name in ("iDecay", "vDecay", "vThMant"):
            found = np.unique(read_integers(neuron, name))
            if found.size != 1:
                raise UnsupportedError(neuron.at(name), "differs from neuron to neuron, which Lava's LIF cannot hold")
            values[name] = int(found[0])
        if values["iDecay"] != ALL:
            raise UnsupportedError(neuron.at("iDecay"), f"a current that decays by {values['iDecay']}/{ALL} per step")
        if values["vDecay"] != 0:
            raise UnsupportedError(
                neuron.at("vDecay"), f"a leak of {values['vDecay']}/{ALL} per step; AdaFire has none"
            )
        if "refDelay" in neuron and read_integer(neuron, "refDelay") > 1:
            raise UnsupportedError(neuron.at("refDelay"), "a refractory period; AdaFire has none")
        if "gradedSpike" in neuron and read_integer(neuron, "gradedSpike"):
            raise UnsupportedError(neuron.at("gradedSpike"), "graded CUBA spikes carry a potential, not a count")
        return values

    def _population(self, layer: FileLayer, *, last: bool) -> AdaFire | Readout:
        shape, values = self.shape_of(layer), self._neuron(layer)
        name = f"layer{layer.group.group.name.rsplit('/', 1)[-1]}"
        bias = read_integers(layer.group, "bias") if "bias" in layer.group else np.zeros(shape[0], np.int64)
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

    def _check_neuron(self, layer: FileLayer, netlist: Netlist, population: Population) -> None:
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
