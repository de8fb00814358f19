"""NIR, compact profile: an outside reader reproduces every spike; the identical netlist comes back."""

from dataclasses import replace

import h5py
import nir
import numpy as np
import pytest

from sim.golden import simulate
from toolchain.exchange.nir import graph_bytes, read_nir, to_nir, write_nir
from toolchain.netlist import FormatError, UnsupportedError


class ProfileReader:
    """Runs a file knowing only the NIR standard and the profile's page: numpy and nir, nothing of ours."""

    def __init__(self, path):
        self.graph = nir.read(path)
        self.profile = self.graph.metadata["adafire"]
        self.order = sorted(self.graph.nodes)

    def run(self, payloads):
        """`payloads`: (N, *shape), or (T, N, *shape) for frames. Returns spikes and readouts (T, N, ...)."""
        timesteps, frames = int(self.profile["timesteps"]), self.profile["coding"] == "frames"
        limit = 2 ** (int(self.profile["membrane_bits"]) - 1) - 1
        samples = payloads.shape[1] if frames else payloads.shape[0]
        potential, spikes, readouts = {}, {}, {}
        for name, node in self.graph.nodes.items():
            if isinstance(node, nir.IF):
                assert np.all(node.r == 1)
                assert np.all(node.v_reset == 0)
                start = node.metadata["adafire"]["v_init"].astype(np.int64)
                potential[name] = np.broadcast_to(start, (samples, *start.shape)).copy()
            elif isinstance(node, nir.I):
                potential[name] = np.zeros((samples, *node.r.shape), np.int64)
        for t in range(timesteps):
            value = {}
            for name in self.order:
                node = self.graph.nodes[name]
                arriving = [value[a] for a, b in self.graph.edges if b == name]
                x = sum(arriving) if arriving else None
                if isinstance(node, nir.Input):
                    value[name] = (payloads[t] if frames else payloads).astype(np.int64)
                    spikes.setdefault(node.metadata["adafire"]["population"], []).append(value[name])
                elif isinstance(node, nir.IF):
                    assert node.metadata["adafire"]["reset"] == "subtract"
                    assert node.metadata["adafire"]["compare"] == ">="
                    theta = node.v_threshold.astype(np.int64)
                    u = np.clip(potential[name] + x, -limit, limit)
                    n = np.clip(u // theta, 0, int(node.metadata["adafire"]["phi"]))
                    potential[name] = u - n * theta
                    value[name] = n
                    spikes.setdefault(node.metadata["adafire"]["population"], []).append(n)
                elif isinstance(node, nir.I):
                    potential[name] += x
                    value[name] = potential[name] * node.r
                    readouts.setdefault(node.metadata["adafire"]["population"], []).append(potential[name].copy())
                elif not isinstance(node, nir.Output):
                    value[name] = self.synapse(node, x)
        stack = {k: np.stack(v) for k, v in spikes.items()}
        return stack, {k: np.stack(v) for k, v in readouts.items()}

    @staticmethod
    def integers(array):
        assert array.dtype == np.float32
        assert np.all(array == np.rint(array))
        return array.astype(np.int64)

    def synapse(self, node, x):
        if isinstance(node, nir.Affine):
            return x @ self.integers(node.weight).T + self.integers(node.bias)
        if isinstance(node, nir.Linear):
            return x @ self.integers(node.weight).T
        if isinstance(node, nir.Flatten):
            first = int(node.start_dim) + 1
            last = int(node.end_dim) + 1 if node.end_dim >= 0 else x.ndim - 1
            return x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :])
        if isinstance(node, nir.SumPool2d):
            channels = x.shape[1]
            kernel = np.zeros((channels, channels, *node.kernel_size), np.int64)
            kernel[np.arange(channels), np.arange(channels)] = 1
            return self.correlate(x, kernel, node.stride, node.padding, (1, 1))
        assert int(node.groups) == 1
        weight = self.integers(node.weight)
        axes = weight.ndim - 2
        stride, padding, dilation = (np.broadcast_to(v, axes) for v in (node.stride, node.padding, node.dilation))
        out = self.correlate(x, weight, stride, padding, dilation)
        return out + self.integers(node.bias).reshape(-1, *[1] * axes)

    @staticmethod
    def correlate(x, weight, stride, padding, dilation):
        x = np.pad(x, ((0, 0), (0, 0), *((int(p), int(p)) for p in padding)))
        sides = [
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(x.shape[2:], weight.shape[2:], stride, dilation, strict=True)
        ]
        out = np.zeros((x.shape[0], weight.shape[0], *sides), np.int64)
        for offset in np.ndindex(*weight.shape[2:]):
            index = tuple(
                slice(int(o * d), int(o * d + (m - 1) * s + 1), int(s))
                for o, d, s, m in zip(offset, dilation, stride, sides, strict=True)
            )
            window = x[(slice(None), slice(None), *index)]
            out += np.einsum("oc,nc...->no...", weight[(slice(None), slice(None), *offset)], window)
        return out


@pytest.mark.parametrize("phi", [1, 4, 15])
@pytest.mark.parametrize("architecture", ["mlp", "cnn", "residual", "grouped", "signal", "concat"])
def test_an_outside_reader_reproduces_every_spike(architecture, phi, make, make_payloads, tmp_path):
    netlist = make(architecture, seed=phi, phi=phi)
    write_nir(netlist, tmp_path / "net.nir")
    payloads = make_payloads(netlist, 3, seed=phi)
    expected = simulate(netlist, payloads)
    spikes, readouts = ProfileReader(tmp_path / "net.nir").run(payloads)
    assert spikes.keys() == expected.spikes.keys()
    assert readouts.keys() == expected.readouts.keys()
    for name, array in {**spikes, **readouts}.items():
        np.testing.assert_array_equal(array, expected.populations[name], err_msg=name)
    assert any(expected.spikes[p.name].any() for p in netlist.spiking)


def test_the_identical_netlist_comes_back(nir_netlist, tmp_path):
    write_nir(nir_netlist, tmp_path / "net.nir")
    back = read_nir(tmp_path / "net.nir")
    assert back.content_hash == nir_netlist.content_hash
    assert back.provenance == nir_netlist.provenance


def test_without_our_structure_the_nodes_still_say_it_all(nir_netlist, make_payloads, tmp_path):
    """A file of the profile written by someone else has no structure metadata."""
    graph = to_nir(nir_netlist)
    for key in ("structure", "arrays", "provenance"):
        del graph.metadata["adafire"][key]
    nir.write(tmp_path / "net.nir", graph)
    payloads = make_payloads(nir_netlist)
    expected, found = simulate(nir_netlist, payloads), simulate(read_nir(tmp_path / "net.nir"), payloads)
    assert found.populations.keys() == expected.populations.keys()
    for name, array in expected.populations.items():
        np.testing.assert_array_equal(found.populations[name], array, err_msg=name)


def test_names_sort_in_topological_order(nir_netlist):
    graph = to_nir(nir_netlist)
    position = {name: i for i, name in enumerate(sorted(graph.nodes))}
    assert all(position[a] < position[b] for a, b in graph.edges)
    assert not any("/" in name or "." in name for name in graph.nodes)


def test_only_the_profiles_nodes_are_used(nir_netlist):
    allowed = ("Input", "Output", "Conv1d", "Conv2d", "Affine", "Linear", "SumPool2d", "Flatten", "IF", "I")
    assert {type(node).__name__ for node in to_nir(nir_netlist).nodes.values()} <= set(allowed)


def test_the_same_netlist_gives_the_same_bytes(nir_netlist):
    assert graph_bytes(to_nir(nir_netlist)) == graph_bytes(to_nir(nir_netlist))


def test_what_nir_cannot_say_is_refused_and_nothing_is_written(make, tmp_path):
    with pytest.raises(UnsupportedError, match="pool: NIR has no max-pooling"):
        write_nir(make("every_operator"), tmp_path / "net.nir")
    netlist = make("cnn")
    first = netlist.populations[1]
    uneven = replace(first, bias=np.arange(first.bias.size * 64).reshape(first.shape))
    with pytest.raises(UnsupportedError, match="conv1: its bias differs"):
        write_nir(replace(netlist, populations=(netlist.input, uneven, *netlist.populations[2:])), tmp_path / "net.nir")
    wide = replace(first, threshold=np.full(4, 2**24 + 1))
    netlist = replace(netlist, membrane_bits=32, populations=(netlist.input, wide, *netlist.populations[2:]))
    with pytest.raises(UnsupportedError, match="conv1: thresholds reach 16777217"):
        write_nir(netlist, tmp_path / "net.nir")
    assert list(tmp_path.iterdir()) == []


def test_a_population_without_inputs_keeps_its_bias(make, make_payloads, tmp_path):
    netlist = make("cnn")
    netlist = replace(netlist, connections=tuple(c for c in netlist.connections if c.target != "conv2"))
    write_nir(netlist, tmp_path / "net.nir")
    payloads = make_payloads(netlist)
    spikes, _ = ProfileReader(tmp_path / "net.nir").run(payloads)
    np.testing.assert_array_equal(spikes["conv2"], simulate(netlist, payloads).spikes["conv2"])
    assert read_nir(tmp_path / "net.nir").content_hash == netlist.content_hash


def change(place, index, value):
    def fault(file):
        array = file[place][()]
        array[index] = value
        del file[place]
        file.create_dataset(place, data=array)

    return fault


def put(place, value):
    def fault(file):
        del file[place]
        file[place] = value

    return fault


FAULTS = {
    "weight": (change("node/nodes/n001_conv/weight", (0, 0, 0, 0), 99), "differs|content hash"),
    "half a weight": (change("node/nodes/n001_conv/weight", (0, 0, 0, 0), 0.5), "not integers"),
    "NaN weight": (change("node/nodes/n001_conv/weight", (0, 0, 0, 0), np.nan), "not integers"),
    "threshold": (change("node/nodes/n002_if/v_threshold", (0, 0, 0), 5), "n002_if/v_threshold: differs"),
    "phi": (put("node/nodes/n002_if/metadata/adafire/phi", 9), "n002_if/metadata/adafire/phi: differs"),
    "version": (put("node/metadata/adafire/version", 7), "profile version 7"),
    "hash": (put("node/metadata/adafire/netlist_hash", "0" * 64), "content hash"),
    "structure": (put("node/metadata/adafire/structure", "{"), "is no JSON"),
    "structure kind": (put("node/metadata/adafire/structure", '{"populations":[{"kind":"os.system"}]}'), "kind"),
    "node type": (put("node/nodes/n002_if/type", "Perceptron"), "n002_if: no valid Perceptron"),
    "edge": (change("node/edges", (0, 1), "nobody"), "edges: differs|leads to no node"),
    "nir version": (put("version", "7.0"), "NIR version '7.0'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_by_name(fault, make, tmp_path):
    change_it, message = FAULTS[fault]
    write_nir(make("residual"), tmp_path / "net.nir")
    with h5py.File(tmp_path / "net.nir", "r+") as file:
        change_it(file)
    with pytest.raises(FormatError, match=message) as caught:
        read_nir(tmp_path / "net.nir")
    assert "net.nir" in str(caught.value)
