"""NIR in standard nodes: nirtorch, which knows nothing of ours, emits every burst."""

from dataclasses import replace

import nir
import nirtorch
import numpy as np
import pytest
import torch
from torch import nn

from sim.golden import simulate
from toolchain.exchange.nir import import_nir, read_nir, write_nir_explicit
from toolchain.netlist import UnsupportedError


class Integrator(nn.Module):
    def __init__(self, node):
        super().__init__()
        self.r = nn.Parameter(torch.from_numpy(node.r), requires_grad=False)

    def forward(self, current, state=None):
        potential = self.r * current if state is None else state + self.r * current
        return potential, potential


class Threshold(nn.Module):
    def __init__(self, node):
        super().__init__()
        self.threshold = nn.Parameter(torch.from_numpy(node.threshold), requires_grad=False)

    def forward(self, potential):
        return (potential > self.threshold).to(potential)


class Scale(nn.Module):
    def __init__(self, node):
        super().__init__()
        self.scale = nn.Parameter(torch.from_numpy(node.scale), requires_grad=False)

    def forward(self, x):
        return self.scale * x


def affine(node):
    # nirtorch 2.6 loses the bias of an Affine: it sets it on the weight.
    layer = nn.Linear(node.weight.shape[1], node.weight.shape[0])
    layer.weight.data, layer.bias.data = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
    return layer


class SumPool(nn.Module):
    """nirtorch's LPPool2d divides and multiplies by the window, which float32 does not always undo."""

    def __init__(self, node):
        super().__init__()
        self.kernel, self.stride = (tuple(int(v) for v in values) for values in (node.kernel_size, node.stride))

    def forward(self, x):
        return nn.functional.avg_pool2d(x, self.kernel, self.stride, divisor_override=1)


MAP = {nir.I: Integrator, nir.Threshold: Threshold, nir.Scale: Scale, nir.Affine: affine, nir.SumPool2d: SumPool}


@torch.no_grad()
def run(graph, payloads, timesteps):
    """Run one sample without a batch axis, as NIR defines its nodes; return what each burst node emits (T, ...)."""
    names = {
        name: node.metadata["adafire"]["population"]
        for name, node in graph.nodes.items()
        if "adafire" in node.metadata and not isinstance(node, nir.Input)
    }
    for node in graph.nodes.values():
        node.metadata = {}
    graph.metadata = {}
    module = nirtorch.nir_to_torch(graph, MAP, dtype=torch.float64)
    emitted = {population: [] for population in ("input", *names.values())}
    for name, population in names.items():
        getattr(module, name).register_forward_hook(
            lambda _, __, out, p=population: emitted[p].append((out[0] if isinstance(out, tuple) else out).clone())
        )
    state = None
    for t in range(timesteps):
        x = torch.from_numpy(payloads[t]).double()
        _, state = module(x) if state is None else module(x, state)
        emitted["input"].append(x)
    return {name: torch.stack(values[-timesteps:]).numpy() for name, values in emitted.items()}


def one_sample(netlist, payloads, sample):
    if netlist.input.coding == "frames":
        return payloads[:, sample]
    return np.broadcast_to(payloads[sample], (netlist.timesteps, *payloads.shape[1:])).copy()


@pytest.mark.parametrize("phi", [1, 3, 8])
@pytest.mark.parametrize("architecture", ["mlp", "cnn", "residual", "grouped", "signal"])
def test_nirtorch_emits_every_burst(architecture, phi, make, make_payloads, tmp_path):
    netlist = make(architecture, seed=phi, phi=phi)
    write_nir_explicit(netlist, tmp_path / "net.nir")
    payloads = make_payloads(netlist, 2)
    expected = simulate(netlist, payloads)
    for sample in range(2):
        found = run(nir.read(tmp_path / "net.nir"), one_sample(netlist, payloads, sample), netlist.timesteps)
        assert found.keys() == expected.populations.keys()
        for name, array in expected.populations.items():
            np.testing.assert_array_equal(found[name], array[:, sample], err_msg=name)


def test_two_branches_join(make, make_payloads, tmp_path):
    netlist = make("concat", phi=4)
    readout = netlist["map"]
    netlist = replace(
        netlist,
        populations=tuple(p for p in netlist.populations if p is not readout),
        connections=tuple(c for c in netlist.connections if c.target != "map"),
    )
    write_nir_explicit(netlist, tmp_path / "net.nir")
    payloads = make_payloads(netlist, 2)
    expected = simulate(netlist, payloads)
    for sample in range(2):
        found = run(nir.read(tmp_path / "net.nir"), one_sample(netlist, payloads, sample), netlist.timesteps)
        for name, array in expected.populations.items():
            np.testing.assert_array_equal(found[name], array[:, sample], err_msg=name)


def test_only_standard_nodes_and_the_identical_netlist(nir_netlist, tmp_path):
    report = write_nir_explicit(nir_netlist, tmp_path / "net.nir")
    assert report.format == "nir-explicit"
    assert "IF" not in {type(node).__name__ for node in nir.read(tmp_path / "net.nir").nodes.values()}
    assert read_nir(tmp_path / "net.nir").content_hash == nir_netlist.content_hash


def test_a_potential_that_can_saturate_is_refused(make, tmp_path):
    netlist = replace(make("mlp"), membrane_bits=12)
    with pytest.raises(UnsupportedError, match=r"hidden\.0: its membrane potential can reach the limit of 12 bits"):
        write_nir_explicit(netlist, tmp_path / "net.nir")
    assert list(tmp_path.iterdir()) == []


def test_without_metadata_its_feedback_is_refused_on_import(make, tmp_path):
    write_nir_explicit(make("mlp"), tmp_path / "net.nir")
    graph = nir.read(tmp_path / "net.nir")
    graph.metadata = {}
    nir.write(tmp_path / "bare.nir", graph)
    with pytest.raises(UnsupportedError, match=r"bare\.nir: node 'n003_threshold': Threshold"):
        import_nir(tmp_path / "bare.nir")
