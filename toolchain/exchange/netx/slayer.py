"""Files that slayer exported: networks of CUBA neurons, as lava-dl's `Network` runs them on Lava.

Every layer is a `CubaLif` population with the weights, decays and thresholds that Lava has in the end: the same spikes
at every timestep. A last layer that cannot reach its threshold is read instead, by its membrane potential. What
`Network` cannot run (pooling, recurrence) is taken from slayer's own definition; what neither means is refused by name.
"""

from __future__ import annotations

import numpy as np

from toolchain.exchange.loss_report import Imported, Loss, LossReport
from toolchain.exchange.netx.layers import FileLayer, NetxFile, read_integer, read_integers, read_text
from toolchain.exchange.netx.synapses import effective_matrix, synapse_delays
from toolchain.files import Guarded, whole
from toolchain.netlist import (
    AnyReadout,
    Connection,
    Conv,
    CubaLif,
    FormatError,
    Input,
    LeakyReadout,
    Linear,
    Netlist,
    Operator,
    Population,
    Provenance,
    Readout,
    Reshape,
    Scale,
    Shape,
    SumPool,
    UnsupportedError,
    bound_membrane,
)
from toolchain.netlist.graph import MAX_TIMESTEPS
from toolchain.netlist.leaky import DECAY_UNITY, MAX_THRESHOLD, STATE_LIMIT, WEIGHT_SHIFT
from toolchain.netlist.shapes import size

#: What lava-dl adds to a layer without neurons: no decay of the current, and a potential that is the current.
INTEGRATOR = {"current_decay": 0, "voltage_decay": DECAY_UNITY, "threshold": 2**17}


class SlayerFile(NetxFile):
    """A file that slayer exported: CUBA layers, binary spikes in, spike counts or potentials out."""

    def __init__(self, file: Guarded, timesteps: int | None) -> None:
        super().__init__(file)
        if timesteps is None:
            if "simulation" not in file:
                raise UnsupportedError(file.file, "the file does not say how many timesteps to run", "say `timesteps`")
            timesteps = read_integer(file.child("simulation"), "tSample")
        if not 1 <= timesteps <= MAX_TIMESTEPS:
            raise FormatError(file.file, f"{timesteps} timesteps found, expected 1 to {MAX_TIMESTEPS}")
        self.timesteps = timesteps
        self.populations: list[Population] = []
        self.connections: list[Connection] = []
        self.notes: list[Loss] = []

    def read(self) -> Imported:
        """Return the netlist whose spikes are Lava's, or raise."""
        self._input()
        for index, layer in enumerate(self.layers):
            if layer.kind == "average":
                if index != len(self.layers) - 1:
                    raise UnsupportedError(layer.group.where, "an average inside the network carries no spikes")
                self._average(layer)
            else:
                self._layer(layer, last=index == len(self.layers) - 1)
        if self.populations[-1].emits:
            last = self.populations[-1]
            count = Readout("count", last.shape, np.zeros(last.shape[0], np.int64), np.ones(last.shape[0]))
            self._connect(count, ())
        netlist = Netlist(
            tuple(self.populations),
            tuple(self.connections),
            self.timesteps,
            weight_bits=self._weight_bits(),
            provenance=Provenance(imported=self.file.file),
        )
        notes = (
            Loss("graph", "lava-dl", "values are Lava's, whose threshold is '>'; slayer trains with '>='"),
            Loss("graph", "lava-dl", "every sample starts from zero: as Network does with reset_interval = T"),
        )
        return Imported(netlist, LossReport("netx", (*self.notes, *notes)))

    def _connect(
        self, population: CubaLif | AnyReadout, operators: tuple[Operator, ...], delay: int | np.ndarray = 0
    ) -> None:
        self.connections.append(Connection(self.populations[-1].name, population.name, operators, delay))
        self.populations.append(population)

    def _input(self) -> None:
        """Add the input: binary frames or, where the file has neurons for it, the data in units of their weight."""
        shape = self.input_shape or self._first_shape()
        zeros, ones = np.zeros(shape[0]), np.ones(shape[0])
        group = self.input_neurons
        if group is None:
            self.populations.append(Input("input", shape, 1, False, 1.0, zeros, ones, "frames"))
            self.notes.append(Loss("graph", "lava-dl", "input spikes are taken as binary, one frame per timestep"))
            return
        weight = read_integer(group, "weight") if "weight" in group else 64
        bias = read_integer(group, "bias") if "bias" in group else 0
        if weight == 0:
            raise FormatError(group.at("weight"), "0 found: nothing of the data would arrive")
        self.populations.append(Input("input", shape, 8, True, 1 / abs(weight), zeros, ones))
        neurons = self._neurons(FileLayer(group, "input", flatten=False), shape, np.array([bias]))
        if np.any(neurons.current_decay != DECAY_UNITY):
            raise UnsupportedError(
                group.at("neuron/iDecay"),
                "the data of an input layer are added to the potential, which only a current without memory (4096) is",
            )
        sign = (Scale(np.full(shape[0], -1)),) if weight < 0 else ()
        self._connect(neurons, sign)
        self.notes.append(
            Loss(
                neurons.name,
                "lava-dl",
                f"data are rounded to {neurons.bias.ravel()[0] >> WEIGHT_SHIFT} + {weight} x and held; "
                "lava-dl leaves that to whoever sets the bias of its neurons",
            )
        )

    def _first_shape(self) -> Shape:
        first = self.layers[0]
        if first.kind not in ("dense", "dense_rec"):
            raise UnsupportedError(first.group.where, "there is no input layer, so the map's size is not in the file")
        features = size(self.shape_of(first))
        return (read_integers(first.group, "weight").size // max(features, 1),)

    def _layer(self, layer: FileLayer, *, last: bool) -> None:
        before, shape = self.populations[-1].shape, self.shape_of(layer)
        flat = self.flattening(layer, before)
        bias = read_integers(layer.group, "bias") if "bias" in layer.group else np.zeros(1, np.int64)
        match layer.kind:
            case "dense":
                matrix = self._effective(layer.group, self.matrix(layer))
                operators: tuple[Operator, ...] = (*flat, Linear(matrix))
                delay = self._delay(layer.group, matrix.shape)
            case "dense_rec":
                own, matrix = self._recurrent(layer)
                operators, delay = (*flat, Linear(matrix)), 0
            case "pool":
                operators, delay = (self._pool(layer.group, before),), 0
            case _:
                operators, delay = self.operators(layer, before), 0
        with whole(layer.group.where):
            neurons = self._neurons(layer, shape, bias, last=last)
            connection = Connection(self.populations[-1].name, neurons.name, operators, delay)
            if last and layer.kind != "dense_rec" and isinstance(neurons, CubaLif):
                neurons = self._read_if_silent(neurons, connection)
            self._connect(neurons, operators, delay)
            if layer.kind == "dense_rec":
                self.connections.append(Connection(neurons.name, neurons.name, (Linear(own),), 1))
                self.notes.append(
                    Loss(neurons.name, "lava-dl", "its Network runs no dense_rec: recurrence is slayer's definition")
                )

    def _read_if_silent(self, neurons: CubaLif, connection: Connection) -> CubaLif | LeakyReadout:
        """Return the readout of the same potential where no input lets it reach the threshold."""
        bound = bound_membrane(neurons, [(connection, self.populations[-1])], self.timesteps)
        if int(bound.high.max()) > int(neurons.threshold.min()) << WEIGHT_SHIFT:
            return neurons
        return self._readout(neurons.name, neurons.shape, neurons.current_decay, neurons.voltage_decay, neurons.bias)

    def _readout(self, name: str, shape: Shape, u: np.ndarray, v: np.ndarray, bias: np.ndarray) -> LeakyReadout:
        self.notes.append(Loss(name, "lava-dl", "never fires: its membrane potential is read, in 1/64 of a weight"))
        return LeakyReadout(name, shape, u, v, bias, np.full(shape[0], 2.0**-WEIGHT_SHIFT))

    def _effective(self, group: Guarded, matrix: np.ndarray) -> np.ndarray:
        effective = effective_matrix(group.at("weight"), matrix)
        changed = int(np.count_nonzero(effective != matrix))
        if changed:
            self.notes.append(Loss(_name(group), "lava-dl", f"{changed} weights are clipped, as lava-dl and Lava do"))
        return effective

    def _delay(self, group: Guarded, matrix: tuple[int, ...]) -> int | np.ndarray:
        if "delay" not in group:
            return 0
        self.notes.append(
            Loss(_name(group), "lava-dl", "spikes under way at a sample's end are gone; lava-dl hands them to the next")
        )
        return synapse_delays(group.at("delay"), np.asarray(group.value("delay")), matrix)

    def _recurrent(self, layer: FileLayer) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights among a layer's own neurons and those into it: netx scales both together."""
        group = layer.group
        if "delay" in group and np.any(np.asarray(group.value("delay")) >= 1):
            raise UnsupportedError(group.at("delay"), "delays of a recurrent layer: lava-dl has no meaning for them")
        matrix, own = self.matrix(layer), self.matrix(layer, "weight_rec")
        if own.shape != (len(matrix), len(matrix)):
            raise FormatError(group.at("weight_rec"), f"shape {own.shape} found, expected {(len(matrix),) * 2}")
        both = self._effective(group, np.hstack([matrix, own]))
        return both[:, matrix.shape[1] :], both[:, : matrix.shape[1]]

    def _pool(self, group: Guarded, before: Shape) -> Operator:
        """Return pooling as a convolution, one kernel for every channel."""
        weight = read_integers(group, "weight")
        kernel = tuple(int(n) for n in read_integers(group, "kernelSize").ravel())
        if weight.size != size(kernel) or len(before) != 3:
            raise FormatError(group.at("weight"), f"{weight.size} weights found for a kernel {kernel} on {before}")
        stride, padding, dilation = (self._pair(group, name) for name in ("stride", "padding", "dilation"))
        every = np.broadcast_to(weight.reshape(1, 1, *kernel), (before[0], 1, *kernel)).copy()
        self.notes.append(Loss(_name(group), "lava-dl", "its Network runs no pool: it is slayer's definition"))
        return Conv(every, stride, tuple((p, p) for p in padding), dilation, before[0])

    def _average(self, layer: FileLayer) -> None:
        """Read the mean spike count of groups of neurons."""
        before, outputs = self.populations[-1].shape, read_integers(layer.group, "shape").ravel()
        neurons, groups = size(before), int(outputs[0])
        if groups < 1 or neurons % groups:
            raise FormatError(layer.group.at("shape"), f"{neurons} neurons do not divide into {groups} groups")
        each = neurons // groups
        operators = (Reshape((groups, each)), SumPool((each,), (each,), ((0, 0),)), Reshape((groups,)))
        zeros = np.zeros(groups, np.int64)
        self._connect(Readout(_name(layer.group), (groups,), zeros, np.full(groups, 1 / each)), operators)

    def _neurons(
        self, layer: FileLayer, shape: Shape, bias: np.ndarray, *, last: bool = False
    ) -> CubaLif | LeakyReadout:
        """Return the neurons of a layer; a readout where lava-dl's threshold is beyond every potential."""
        name, group = _name(layer.group), layer.group
        values = self._neuron(group, shape)
        effective_bias = _per_neuron(group.at("bias"), bias, shape) << WEIGHT_SHIFT
        u, v = values["current_decay"], values["voltage_decay"]
        if int(values["threshold"].min()) << WEIGHT_SHIFT >= STATE_LIMIT - 1:
            if not last:
                raise UnsupportedError(group.where, "a layer inside the network that never fires")
            return self._readout(name, shape, u, v, effective_bias)
        if int(values["threshold"].max()) > MAX_THRESHOLD:
            raise UnsupportedError(group.at("neuron/vThMant"), f"thresholds beyond {MAX_THRESHOLD}, 17 bits")
        return CubaLif(name, shape, values["threshold"], u, v, effective_bias)

    def _neuron(self, group: Guarded, shape: Shape) -> dict[str, np.ndarray]:
        """Return decays and threshold of a layer's neurons, for each neuron or once per channel."""
        if "neuron" not in group:
            return {name: np.full(shape[0], value, np.int64) for name, value in INTEGRATOR.items()}
        neuron = group.child("neuron")
        kind = read_text(neuron, "type")
        if kind not in ("CUBA", "LOIHI"):
            raise UnsupportedError(neuron.where, f"neurons of type {kind!r:.40} have no counterpart, only CUBA has")
        if "refDelay" in neuron and read_integer(neuron, "refDelay") > 1:
            raise UnsupportedError(neuron.at("refDelay"), "a refractory period of more than 1: Lava's LIF has none")
        if "gradedSpike" in neuron and read_integer(neuron, "gradedSpike"):
            raise UnsupportedError(neuron.at("gradedSpike"), "graded CUBA spikes, which Lava's LIF does not send")
        for name in ("weight_exp", "wgtExp"):
            if name in neuron and np.any(np.asarray(neuron.value(name)) != 0):
                self.notes.append(Loss(_name(group), "lava-dl", f"{name} is not read, as lava-dl's Network does not"))
        fields = {"current_decay": "iDecay", "voltage_decay": "vDecay", "threshold": "vThMant"}
        found = {}
        for field, name in fields.items():
            values = read_integers(neuron, name)
            top = DECAY_UNITY if field != "threshold" else 2**25
            if int(values.min()) < (1 if field == "threshold" else 0) or int(values.max()) > top:
                least = 1 if field == "threshold" else 0
                raise FormatError(
                    neuron.at(name), f"{int(values.min())} .. {int(values.max())} found, expected {least} to {top}"
                )
            found[field] = _per_neuron(neuron.at(name), values, shape)
        return found

    def _weight_bits(self) -> int:
        reach = max(
            (
                max(int(o.weight.max()), -int(o.weight.min()) - 1)
                for c in self.connections
                for o in c.operators
                if isinstance(o, Conv | Linear)
            ),
            default=0,
        )
        bits = max(8, reach.bit_length() + 1)
        if bits > 16:
            raise UnsupportedError(self.file.file, f"weights reach {reach}, more than 16 bits hold")
        return bits


def _name(group: Guarded) -> str:
    return f"layer{group.group.name.rsplit('/', 1)[-1]}"


def _per_neuron(where: str, values: np.ndarray, shape: Shape) -> np.ndarray:
    """Return integers given once, per channel or per neuron as a population has them."""
    if values.size == 1:
        return np.full(shape[0], int(values.ravel()[0]), np.int64)
    if values.size == size(shape):
        return values.reshape(shape)
    if values.size == shape[0]:
        return values.ravel()
    raise FormatError(where, f"{values.size} values found for neurons {shape}")
