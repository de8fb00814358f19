"""Other people's simulators run our exported networks and emit the same bursts, bit for bit.

Each network is exported to NIR; its nodes become layers of the other package (their weights as torch
layers, their IF nodes as the package's own neuron, set to AdaFire's arithmetic); all payloads of all populations and
the readouts are compared with the golden step.
"""

import nir
import numpy as np
import pytest
import torch
from torch import nn

from sim.golden import simulate
from toolchain.exchange.nir import write_nir

ARCHITECTURES = ["mlp", "cnn", "residual", "grouped", "signal", "concat"]


class SumPool(nn.Module):
    def __init__(self, node):
        super().__init__()
        self.kernel, self.stride, self.padding = (
            tuple(int(v) for v in values) for values in (node.kernel_size, node.stride, node.padding)
        )

    def forward(self, x):
        pooled = nn.functional.avg_pool2d(x, self.kernel, self.stride, self.padding, divisor_override=1)
        assert torch.equal(pooled, pooled.round())
        return pooled


def layer_of(node):
    """Return the torch layer of a synaptic node, in float64."""
    if isinstance(node, nir.Affine | nir.Linear):
        layer = nn.Linear(node.weight.shape[1], node.weight.shape[0], isinstance(node, nir.Affine))
    elif isinstance(node, nir.Conv1d | nir.Conv2d):
        kind = nn.Conv1d if isinstance(node, nir.Conv1d) else nn.Conv2d
        axes = node.weight.ndim - 2
        stride, padding, dilation = (
            tuple(int(n) for n in np.broadcast_to(v, axes)) for v in (node.stride, node.padding, node.dilation)
        )
        c_out, c_in = node.weight.shape[:2]
        layer = kind(c_in, c_out, node.weight.shape[2:], stride, padding, dilation, int(node.groups))
    elif isinstance(node, nir.SumPool2d):
        return SumPool(node)
    elif isinstance(node, nir.Flatten):
        end = int(node.end_dim)
        return nn.Flatten(int(node.start_dim) + 1, end + 1 if end >= 0 else end)
    else:
        raise AssertionError(node)
    layer = layer.double()
    layer.weight.data = torch.from_numpy(node.weight).double()
    if layer.bias is not None:
        layer.bias.data = torch.from_numpy(node.bias).double()
    return layer


@torch.no_grad()
def run(path, payloads, neuron):
    """Run a NIR file layer by layer; `neuron(node, current)` maps currents (B, T, ...) to spikes (B, T, ...)."""
    graph = nir.read(path)
    profile = graph.metadata["adafire"]
    timesteps = int(profile["timesteps"])
    x = torch.from_numpy(payloads).double()
    x = x.transpose(0, 1) if profile["coding"] == "frames" else x.unsqueeze(1).expand(-1, timesteps, *x.shape[1:])
    values, populations = {}, {}
    for name in sorted(graph.nodes):
        node = graph.nodes[name]
        arriving = sum(values[a] for a, b in graph.edges if b == name)
        if isinstance(node, nir.Input):
            values[name] = x
        elif isinstance(node, nir.IF):
            values[name] = neuron(node, arriving).double()
        elif isinstance(node, nir.I):
            values[name] = arriving.cumsum(1)
        elif isinstance(node, nir.Output):
            continue
        else:
            flat = layer_of(node)(arriving.flatten(0, 1))
            values[name] = flat.unflatten(0, arriving.shape[:2])
        if "adafire" in node.metadata:
            populations[node.metadata["adafire"]["population"]] = values[name].transpose(0, 1).numpy()
    return populations


def sinabs_neuron(node, current):
    from sinabs.activation import MaxSpike, MembraneSubtract
    from sinabs.layers import IAF

    metadata = node.metadata["adafire"]
    layer = IAF(
        spike_threshold=torch.from_numpy(node.v_threshold).double(),
        spike_fn=MaxSpike(int(metadata["phi"])),
        reset_fn=MembraneSubtract(),
        min_v_mem=None,
    )
    layer.init_state_with_shape((current.shape[0], *current.shape[2:]))
    layer.v_mem = torch.from_numpy(metadata["v_init"]).double().expand(layer.v_mem.shape).clone()
    return layer(current)


def spikingjelly_neuron(node, current):
    from spikingjelly.activation_based.neuron import IFNode

    layer = IFNode(v_threshold=1.0, v_reset=None, step_mode="m")
    layer.v_threshold = torch.from_numpy(node.v_threshold).double()
    layer.v = torch.from_numpy(node.metadata["adafire"]["v_init"]).double().expand(current[:, 0].shape).clone()
    return layer(current.transpose(0, 1).contiguous()).transpose(0, 1)


def compare(netlist, payloads, neuron, path):
    expected = simulate(netlist, payloads)
    assert not any(expected.saturations.values())
    write_nir(netlist, path)
    found = run(path, payloads, neuron)
    assert found.keys() == expected.populations.keys()
    for name, array in expected.populations.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    return sum(a.size for a in expected.populations.values())


@pytest.mark.parametrize("phi", range(1, 17))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sinabs_emits_the_same_bursts(architecture, phi, make, make_payloads, tmp_path, record_property):
    pytest.importorskip("sinabs", reason="sinabs is not installed (extra `peers`)")
    compared = 0
    for seed in (phi, 100 + phi):
        netlist = make(architecture, seed=seed, phi=phi)
        compared += compare(netlist, make_payloads(netlist, 4, seed), sinabs_neuron, tmp_path / "net.nir")
    record_property("payloads_compared", compared)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_spikingjelly_emits_the_same_spikes(architecture, seed, make, make_payloads, tmp_path, record_property):
    pytest.importorskip("spikingjelly", reason="spikingjelly is not installed (extra `peers`)")
    netlist = make(architecture, seed=seed, phi=1)
    compared = compare(netlist, make_payloads(netlist, 4, seed), spikingjelly_neuron, tmp_path / "net.nir")
    record_property("payloads_compared", compared)


def test_another_neuron_is_noticed(make, make_payloads, tmp_path):
    """sinabs' own default, as its importer sets it, is not AdaFire: the comparison fails."""
    pytest.importorskip("sinabs", reason="sinabs is not installed (extra `peers`)")

    def unlimited(node, current):
        from sinabs.layers import IAF

        layer = IAF(spike_threshold=torch.from_numpy(node.v_threshold).double())
        layer.init_state_with_shape((current.shape[0], *current.shape[2:]))
        return layer(current)

    netlist = make("cnn", phi=2)
    with pytest.raises(AssertionError, match="conv1"):
        compare(netlist, make_payloads(netlist), unlimited, tmp_path / "net.nir")
