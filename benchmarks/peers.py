"""Other SNN simulators on the netlist's weights, each in its fastest mode.

All peers get the same help: the first layer's current is computed once, a layer's convolution takes
all timesteps in one call, channels-last, in inference mode. What differs is the neuron. sinabs can
be AdaFire exactly; spikingjelly and snntorch only with bursts of one, norse only with another reset:
they run the same weights, and how much of their output agrees is measured.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sim import kernels
from toolchain.netlist import AdaFire, Netlist, Weighted, per_channel

#: (T, N, C, ...) currents of a population -> (T, N, C, ...) spikes.
Neuron = Callable[[Tensor], Tensor]


class Peer:
    """A netlist in float32 torch, with another library's neurons.

    Parameters
    ----------
    netlist : Netlist
    make_neuron : callable
        Population -> function of its currents.
    scaled : bool
        Whether currents are divided by the threshold, for libraries that have one threshold for all.
    """

    def __init__(self, netlist: Netlist, make_neuron: Callable[[AdaFire], Neuron], *, scaled: bool) -> None:
        self.netlist = netlist
        self.neurons = {p.name: make_neuron(p) for p in netlist.spiking}
        self.operators: dict[str, tuple[Any, ...]] = {}
        self.bias: dict[str, Tensor] = {}
        for population in netlist.populations[1:]:
            (connection,) = netlist.inputs(population.name)
            theta = population.threshold if scaled and isinstance(population, AdaFire) else np.ones(1)
            operators = []
            for operator in connection.operators:
                if isinstance(operator, Weighted):
                    weight = operator.weight / theta.reshape(-1, *(1 for _ in operator.weight.shape[1:]))
                    operator = type(operator)(
                        **{**operator.__dict__, "weight": np.ascontiguousarray(weight, dtype=np.float32)}
                    )
                operators.append(operator)
            self.operators[population.name] = tuple(operators)
            scale = per_channel(theta, population.shape) if theta.size > 1 else theta
            bias = per_channel(population.bias, population.shape) / scale
            self.bias[population.name] = torch.from_numpy(bias.astype(np.float32))

    def run(self, payloads: Tensor) -> tuple[Tensor, Tensor]:
        """Run payloads (N, C, H, W); return the readout's sum (N, classes), and spikes of the last population."""
        x, spikes = payloads.unsqueeze(0), payloads
        steps = self.netlist.timesteps
        for population in self.netlist.populations[1:]:
            flat = x.flatten(0, 1)
            if flat.ndim == 4:
                flat = flat.contiguous(memory_format=torch.channels_last)
            current = flat
            for operator in self.operators[population.name]:
                current = _average(operator, current)
            current = (current + self.bias[population.name]).unflatten(0, x.shape[:2])
            if population.name not in self.neurons:
                return current.expand(steps, *current.shape[1:]).sum(0), spikes
            x = self.neurons[population.name](current.expand(steps, *current.shape[1:]))
            spikes = x
        raise ValueError("the netlist has no readout")


def _average(operator: Any, x: Tensor) -> Tensor:
    """Apply an operator, sum-pooling by torch's own kernel."""
    if type(operator).__name__ == "SumPool":
        return F.avg_pool2d(x, operator.kernel, operator.stride, divisor_override=1)
    return kernels.apply(operator, x)


def _start(population: AdaFire) -> Tensor:
    """Return the initial membrane potential in thresholds."""
    shape = population.shape
    start = per_channel(population.initial, shape) / per_channel(population.threshold, shape)
    return torch.from_numpy(start).float()


def sinabs(netlist: Netlist) -> Peer:
    """sinabs' IAF with MaxSpike(phi), reset by subtraction and no lower limit: AdaFire itself."""
    from sinabs.activation import MaxSpike, MembraneSubtract
    from sinabs.layers import IAF

    def make(population: AdaFire) -> Neuron:
        threshold = torch.from_numpy(per_channel(population.threshold, population.shape).astype(np.float32))
        initial = torch.from_numpy(per_channel(population.initial, population.shape).astype(np.float32))
        layer = IAF(
            spike_threshold=threshold,
            spike_fn=MaxSpike(population.phi),
            reset_fn=MembraneSubtract(),
            min_v_mem=None,
        )

        def neuron(current: Tensor) -> Tensor:
            moved = current.transpose(0, 1)
            layer.init_state_with_shape((moved.shape[0], *moved.shape[2:]))
            layer.v_mem = initial.expand(moved.shape[0], *moved.shape[2:]).clone()
            return layer(moved).transpose(0, 1)

        return neuron

    return Peer(netlist, make, scaled=False)


def spikingjelly(netlist: Netlist) -> Peer:
    """spikingjelly's IFNode, multi-step, reset by subtraction."""
    from spikingjelly.activation_based.neuron import IFNode

    def make(population: AdaFire) -> Neuron:
        node = IFNode(v_threshold=1.0, v_reset=None, step_mode="m").eval()
        start = _start(population)

        def neuron(current: Tensor) -> Tensor:
            node.reset()
            node.v = start.expand(current.shape[1:]).clone()
            return node(current)

        return neuron

    return Peer(netlist, make, scaled=True)


def snntorch(netlist: Netlist) -> Peer:
    """snntorch's Leaky without leak, reset by subtraction in the same step."""
    import snntorch as library

    def make(population: AdaFire) -> Neuron:
        node = library.Leaky(beta=1.0, threshold=1.0, reset_mechanism="subtract", reset_delay=False).eval()
        start = _start(population)

        def neuron(current: Tensor) -> Tensor:
            potential = start.expand(current.shape[1:]).clone()
            spikes = []
            for step in current:
                spike, potential = node(step, potential)
                spikes.append(spike)
            return torch.stack(spikes)

        return neuron

    return Peer(netlist, make, scaled=True)


def norse(netlist: Netlist) -> Peer:
    """norse's integrate-and-fire step; it resets to zero."""
    from norse.torch.functional.iaf import IAFFeedForwardState, IAFParameters, iaf_feed_forward_step

    parameters = IAFParameters()

    def make(population: AdaFire) -> Neuron:
        start = _start(population)

        def neuron(current: Tensor) -> Tensor:
            state = IAFFeedForwardState(v=start.expand(current.shape[1:]).clone())
            spikes = []
            for step in current:
                spike, state = iaf_feed_forward_step(step, state, parameters)
                spikes.append(spike)
            return torch.stack(spikes)

        return neuron

    return Peer(netlist, make, scaled=True)


#: Name -> (constructor, whether it has bursts).
PEERS = {
    "sinabs": (sinabs, True),
    "norse": (norse, False),
    "spikingjelly": (spikingjelly, False),
    "snntorch": (snntorch, False),
}
