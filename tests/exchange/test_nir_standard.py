"""NIR files that others wrote: imported as far as a netlist goes, else refused node by node."""

import itertools

import nir
import numpy as np
import pytest
import torch
from torch import nn

from sim.golden import simulate
from toolchain.exchange.nir import import_nir, read_nir
from toolchain.netlist import FormatError, UnsupportedError


@pytest.fixture
def save(tmp_path):
    def write(graph, *, check=True):
        """Write what another package exported: `nir` itself writes no 0-d arrays and no shapes left open."""
        for node in graph.nodes.values():
            for name, value in vars(node).items():
                if isinstance(value, torch.Tensor):
                    value = value.detach().numpy()
                if name not in ("input_type", "output_type", "metadata") and isinstance(value, np.ndarray | np.generic):
                    setattr(node, name, np.atleast_1d(value))
        if check:
            graph.infer_types()
        nir.write(tmp_path / "net.nir", graph)
        return tmp_path / "net.nir"

    return write


def integer_weights(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randint(-9, 10, parameter.shape, generator=generator).float()


@torch.no_grad()
def test_a_network_from_sinabs_emits_the_same_spikes(save):
    """Strided and padded convolutions, sum pooling, flatten, alphabetical names; exact for integer weights."""
    from sinabs.activation import MaxSpike
    from sinabs.layers import IAFSqueeze, SumPool2d
    from sinabs.nir import to_nir

    def iaf(threshold):
        return IAFSqueeze(batch_size=3, spike_threshold=torch.tensor(threshold), spike_fn=MaxSpike(1), min_v_mem=None)

    convolutions = nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.Conv2d(4, 3, 3, padding=1, bias=False)
    dense = nn.Linear(12, 5)
    for layer in (*convolutions, dense):
        integer_weights(layer)
    model = nn.Sequential(
        convolutions[0], iaf(40.0), SumPool2d(2), convolutions[1], iaf(12.0), nn.Flatten(), dense, iaf(7.0)
    )
    payloads = np.random.default_rng(0).integers(0, 5, (3, 2, 8, 8)).astype(np.int8)
    timesteps = 6
    sequence = torch.from_numpy(payloads).float().repeat_interleave(timesteps, dim=0)
    model(sequence)
    graph = to_nir(model, sequence)
    for layer in model:
        if isinstance(layer, IAFSqueeze):
            layer.reset_states()
    emitted = []
    for layer in model:
        sequence = layer(sequence)
        if isinstance(layer, IAFSqueeze):
            emitted.append(sequence.unflatten(0, (3, timesteps)).transpose(0, 1).numpy())
    imported = import_nir(save(graph), timesteps=timesteps)
    trace = simulate(imported.netlist, payloads)
    spiking = [p.name for p in imported.netlist.spiking]
    assert len(spiking) == 3
    for name, expected in zip(spiking, emitted, strict=True):
        assert expected.any()
        np.testing.assert_array_equal(trace.spikes[name], expected, err_msg=name)
    assert not any("rounded by" in loss.what for loss in imported.report.losses)
    assert "reset by subtraction" in str(imported.report)


def test_a_network_from_spikingjelly(save):
    from spikingjelly.activation_based import layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    torch.manual_seed(0)
    model = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(), layer.AvgPool2d(2, 2), layer.Flatten(), layer.Linear(64, 5)
    )
    imported = import_nir(save(export_to_nir(model, torch.rand(1, 2, 8, 8)), check=False))
    assert [type(p).__name__ for p in imported.netlist.populations] == ["Input", "AdaFire", "Readout"]
    conv, dense = model[0], model[4]
    first, last = (imported.netlist.connections[i].operators for i in (0, 1))
    scale = imported.netlist.populations[1].scale.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(first[0].weight * scale, conv.weight.detach(), atol=0.51 * scale.max())
    # The 1/4 of the average pooling is in the weights of the layer that follows.
    scale = imported.netlist.readouts[0].scale.reshape(-1, 1)
    np.testing.assert_allclose(last[-1].weight * scale, dense.weight.detach() / 4, atol=0.51 * scale.max())
    assert "1/dt" in str(imported.report)


def test_a_network_from_norse(save):
    import norse.torch as norse

    torch.manual_seed(0)
    model = norse.SequentialState(nn.Linear(6, 5), norse.IAFCell(), nn.Linear(5, 3))
    imported = import_nir(save(norse.to_nir(model, torch.rand(1, 6)), check=False))
    assert [p.shape for p in imported.netlist.populations] == [(6,), (5,), (3,)]
    assert "begin with a batch of 1" in str(imported.report)
    report = imported.report.to_json()
    assert report["lossless"] is False
    assert {"where", "reader", "what"} == set(report["losses"][0])


def if_node(*shape, threshold=10.0, r=1.0, reset=0.0):
    return nir.IF(r=np.full(shape, r), v_threshold=np.full(shape, threshold), v_reset=np.full(shape, reset))


def leaky(tau):
    return nir.LIF(np.array(tau), np.full(len(tau), 2.0), np.full(len(tau), -1.0), np.ones(len(tau)))


def chain(**nodes):
    names = list(nodes)
    return nir.NIRGraph(nodes, list(itertools.pairwise(names)), type_check=False)


def small(**changes):
    rng = np.random.default_rng(0)
    nodes = {
        "input": nir.Input(np.array([4])),
        "w": nir.Affine(rng.integers(-9, 9, (3, 4)).astype(float), np.ones(3)),
        "neurons": if_node(3),
        "output": nir.Output(np.array([3])),
    }
    return chain(**{**nodes, **changes})


def test_a_subgraph_is_put_in_line(save):
    rng = np.random.default_rng(0)
    weights = [rng.integers(-9, 9, (4, 4)).astype(float) for _ in range(2)]
    inner = chain(
        input=nir.Input(np.array([4])), w=nir.Linear(weights[0]), neurons=if_node(4), output=nir.Output(np.array([4]))
    )
    graph = chain(
        input=nir.Input(np.array([4])),
        block=inner,
        w=nir.Linear(weights[1]),
        neurons=if_node(4),
        output=nir.Output(np.array([4])),
    )
    flat = chain(
        input=nir.Input(np.array([4])),
        a=nir.Linear(weights[0]),
        b=if_node(4),
        c=nir.Linear(weights[1]),
        d=if_node(4),
        output=nir.Output(np.array([4])),
    )
    payloads = rng.integers(0, 9, (5, 4))
    nested, plain = (simulate(read_nir(save(g, check=False)), payloads) for g in (graph, flat))
    assert nested.spikes["block.neurons"].any()
    for name, other in (("block.neurons", "b"), ("neurons", "d"), ("output", "output")):
        np.testing.assert_array_equal(nested.populations[name], plain.populations[other])


def test_two_branches_join_and_their_biases_add(save):
    """input -> (a, b) -> sum -> scale -> neurons: the biases of a and b go through the scale."""
    rng = np.random.default_rng(0)
    wa, wb = (rng.integers(-9, 9, (3, 4)).astype(float) for _ in range(2))
    nodes = {
        "input": nir.Input(np.array([4])),
        "a": nir.Affine(wa, np.array([1.0, 2.0, 3.0])),
        "b": nir.Affine(wb, np.array([10.0, 0.0, 0.0])),
        "scale": nir.Scale(np.array([2.0, 3.0, 4.0])),
        "neurons": if_node(3, threshold=25.0),
        "output": nir.Output(np.array([3])),
    }
    edges = [
        ("input", "b"),
        ("input", "a"),
        ("b", "scale"),
        ("a", "scale"),
        ("scale", "neurons"),
        ("neurons", "output"),
    ]
    netlist = read_nir(save(nir.NIRGraph(nodes, edges)))
    np.testing.assert_array_equal(netlist["neurons"].bias, [22, 6, 12])
    payloads = rng.integers(0, 9, (5, 4))
    trace = simulate(netlist, payloads)
    u = ((payloads @ (wa + wb).T + [11, 2, 3]) * [2, 3, 4]).astype(int)
    np.testing.assert_array_equal(trace.spikes["neurons"][0], u >= 25)


def test_a_resistance_moves_into_the_threshold(save):
    netlist = read_nir(save(small(neurons=nir.IF(np.array([1.0, 2.0, 5.0]), np.full(3, 10.0)))))
    np.testing.assert_array_equal(netlist["neurons"].threshold, [10, 5, 2])


def test_binary_fractions_are_exact(save):
    weight = np.array([[0.5, 0.25, -1.0, 0.0]] * 3)
    imported = import_nir(save(small(w=nir.Linear(weight), neurons=if_node(3, threshold=1.0))))
    np.testing.assert_array_equal(imported.netlist.connections[0].operators[0].weight, weight * 4)
    np.testing.assert_array_equal(imported.netlist["neurons"].threshold, [4, 4, 4])
    assert not any("rounded by" in loss.what for loss in imported.report.losses)


def floating(nodes, edges, payloads, timesteps):
    """What the neurons of a graph emit in real numbers, (T, *shape) each: currents add up, spikes subtract at >=."""
    potential, found = {}, {name: [] for name, node in nodes.items() if isinstance(node, nir.IF)}
    for _ in range(timesteps):
        values = {"input": payloads.astype(float)}
        for name, node in list(nodes.items())[1:]:
            current = sum(values[a] for a, b in edges if b == name)
            match node:
                case nir.IF():
                    potential[name] = potential.get(name, 0.0) + current
                    values[name] = (potential[name] >= node.v_threshold - 1e-9).astype(float)
                    potential[name] -= values[name] * node.v_threshold
                    found[name].append(values[name])
                case nir.SumPool2d():
                    c, h, w = current.shape
                    values[name] = current.reshape(c, h // 2, 2, w // 2, 2).sum((2, 4))
                case nir.Scale():
                    values[name] = current * node.scale
                case nir.Linear():
                    values[name] = node.weight @ current
                case _:
                    values[name] = current
    return {name: np.array(spikes) for name, spikes in found.items()}


def pool_of_two():
    return nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))


PATHS = {
    "identity": ({"n": (3,)}, [("input", "n"), ("n", "output")]),
    "sum": ({"pool": pool_of_two(), "n": (2, 2, 2)}, [("input", "pool"), ("pool", "n"), ("n", "output")]),
    "neurons behind neurons": ({"m": (3,), "n": (3,)}, [("input", "m"), ("m", "n"), ("n", "output")]),
    "beside a factor": (
        {"f": nir.Scale(np.array([0.37, -0.21, 2.6])), "n": (3,)},
        [("input", "f"), ("f", "n"), ("input", "n"), ("n", "output")],
    ),
    "beside a matrix": (
        {"w": nir.Linear(np.random.default_rng(3).normal(size=(3, 3))), "n": (3,)},
        [("input", "w"), ("w", "n"), ("input", "n"), ("n", "output")],
    ),
    "two factors in a row": (
        {"f": nir.Scale(np.array([0.3, 0.5, 0.7])), "g": nir.Scale(np.array([2.31, 1.71, 1.13])), "n": (3,)},
        [("input", "f"), ("f", "g"), ("g", "n"), ("n", "output")],
    ),
    "a factor before a matrix": (
        {"f": nir.Scale(np.array([0.3, 0.5, 0.7])), "w": nir.Linear(np.eye(3) + 0.37), "n": (3,)},
        [("input", "f"), ("f", "w"), ("w", "n"), ("n", "output")],
    ),
    "two matrices in a row": (
        {"v": nir.Linear(np.eye(3) * 1.117 - 0.131), "w": nir.Linear(np.eye(3) + 0.37), "n": (3,)},
        [("input", "v"), ("v", "w"), ("w", "n"), ("n", "output")],
    ),
    "two of them": (
        {"m": (3,), "n": (3,)},
        [("input", "m"), ("m", "n"), ("input", "n"), ("n", "output")],
    ),
}


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("threshold", [0.3, 1.3, 1.4, 2.5, 7.77, 1 / 3])
@pytest.mark.parametrize("name", PATHS)
def test_a_path_keeps_its_thresholds_ratio(name, threshold, kind, save):
    """Against the graph in real numbers, paths without weights at 8 bits and others at more, for they are rounded."""
    made, edges = PATHS[name]
    shape = (2, 4, 4) if "pool" in made else (3,)
    nodes = {"input": nir.Input(np.array(shape)), **made, "output": nir.Output(np.array(shape))}
    for node in [n for n in nodes if isinstance(nodes[n], tuple)]:
        nodes[node] = if_node(*nodes[node], threshold=threshold)
        nodes[node].v_threshold = nodes[node].v_threshold.astype(kind)
    payloads = np.random.default_rng(5).integers(-1, 3, shape)
    timesteps = 20 if "row" in name else 50
    expected = floating(nodes, edges, payloads, timesteps)
    bits = 16 if "beside" in name else 12 if "row" in name or "before" in name else 8
    netlist = import_nir(
        save(nir.NIRGraph(nodes, edges, type_check=False), check=False), timesteps=timesteps, weight_bits=bits
    )
    found = simulate(netlist.netlist, payloads[np.newaxis])
    for node, spikes in expected.items():
        assert spikes.any()
        np.testing.assert_array_equal(found.spikes[node][:, 0], spikes)


def test_a_path_of_integers_takes_no_factor(save):
    nodes = {"input": nir.Input(np.array([3])), "n": if_node(3, threshold=7.0), "output": nir.Output(np.array([3]))}
    imported = import_nir(save(chain(**nodes), check=False))
    assert [c.operators for c in imported.netlist.connections] == [(), ()]
    assert imported.netlist["n"].threshold.tolist() == [7, 7, 7]


def test_a_bias_alone_keeps_its_ratio_to_the_threshold(save):
    affine = nir.Affine(np.zeros((3, 4)), np.array([0.3, 0.7, 1.1]))
    imported = import_nir(save(small(w=affine, neurons=if_node(3, threshold=1.3))), timesteps=20)
    trace = simulate(imported.netlist, np.zeros((1, 4), int))
    assert trace.spikes["neurons"].sum(axis=(0, 1)).tolist() == [4, 10, 16]


def test_a_threshold_too_small_for_the_weights_is_refused(save):
    nodes = {"input": nir.Input(np.array([3])), "n": if_node(3, threshold=1e-4), "output": nir.Output(np.array([3]))}
    with pytest.raises(FormatError, match="n: a threshold is not positive, or vanishes beside the weights"):
        import_nir(save(chain(**nodes), check=False))


def conv(weight=(2, 4, 3, 3), bias=2, groups=1, padding=(1, 1)):
    return nir.Conv2d((5, 5), np.ones(weight), (1, 1), padding, (1, 1), groups, np.zeros(bias))


def conv_net(node):
    return chain(
        input=nir.Input(np.array([4, 5, 5])), c=node, neurons=if_node(2, 5, 5), output=nir.Output(np.array([2, 5, 5]))
    )


def test_a_grouped_convolution_with_named_padding(save):
    """NIR's own type check cannot take it; we can."""
    netlist = read_nir(save(conv_net(conv(weight=(2, 2, 3, 3), groups=2, padding="same")), check=False))
    (operator,) = netlist.connections[0].operators
    assert (operator.groups, operator.padding) == (2, ((1, 1), (1, 1)))


def edges(*extra, without=()):
    def graph():
        made = small()
        made.edges = [e for e in made.edges if e not in without] + list(extra)
        return made

    return graph


FAULTS = {
    "LI inside": (
        lambda: chain(
            input=nir.Input(np.array([3])), i=nir.LI(*[np.ones(3)] * 3), n=if_node(3), output=nir.Output(np.array([3]))
        ),
        r"net\.nir:i: an integrator inside",
    ),
    "LIF too slow": (lambda: small(neurons=leaky([0.5, 1e4, 0.5])), r"tau: 10000 s at a `dt` of 0.1 s decays by 0.041"),
    "LIF too fast": (lambda: small(neurons=leaky([0.01, 0.5, 0.1])), r"tau: 0.01 s at a `dt` of 0.1 s decays by 4.1e"),
    "LIF just too fast": (lambda: small(neurons=leaky([0.100001] * 3)), "expected 1 to 4095; choose `dt`"),
    "LIF for ever": (lambda: small(neurons=leaky([np.inf] * 3)), "tau: inf: it neither leaks nor integrates"),
    "LIF of no time": (lambda: small(neurons=leaky([np.nan] * 3)), "tau: is no positive time"),
    "LIF of nothing": (lambda: small(neurons=leaky([])), "tau: is no positive time"),
    "LIF of another size": (lambda: small(neurons=leaky([0.5] * 2)), r"shape \(2,\) found, but \(3,\) arrives"),
    "no threshold": (
        lambda: small(neurons=nir.LIF(*[np.ones(3)] * 3, np.zeros(3))),
        "v_threshold less v_reset is 0, expected positive",
    ),
    "Delays": (lambda: small(neurons=nir.Delay(np.array([1.0, 2, 1]))), "delays that differ from neuron to neuron"),
    "long Delay": (lambda: small(neurons=nir.Delay(np.full(3, 1e4))), "10000 s are 1e.05 timesteps, at most 4096"),
    "Threshold": (lambda: small(neurons=nir.Threshold(np.ones(3))), "node 'neurons': Threshold"),
    "integrator inside": (
        lambda: chain(
            input=nir.Input(np.array([3])), i=nir.I(np.ones(3)), neurons=if_node(3), output=nir.Output(np.array([3]))
        ),
        r"net\.nir:i: an integrator inside",
    ),
    "reset to 1": (lambda: small(neurons=if_node(3, reset=1.0)), r"net\.nir:neurons: it resets to another value"),
    "negative r": (lambda: small(neurons=if_node(3, r=-1.0)), r"net\.nir:neurons: r -1"),
    "zero threshold": (lambda: small(neurons=if_node(3, threshold=0.0)), "neurons: v_threshold 0 found"),
    "NaN threshold": (lambda: small(neurons=if_node(3, threshold=np.nan)), "neurons/v_threshold: holds NaN"),
    "huge threshold": (lambda: small(neurons=if_node(3, threshold=1e30)), r"threshold 1e\+30 is too large beside"),
    "readout shape": (
        lambda: small(neurons=nir.I(np.ones(5))),
        r"net\.nir:neurons/r: shape \(5,\) found, but \(3,\) arrives",
    ),
    "tiny weights": (
        lambda: small(w=nir.Linear(np.full((3, 4), 1e-200))),
        "neurons: threshold 10 is too large beside the weights",
    ),
    "no weights": (lambda: small(w=nir.Linear(np.ones((0, 4)))), r"w/weight: is empty, of shape \(0, 4\)"),
    "pooling of a vector": (
        lambda: small(w=nir.AvgPool2d(*[np.array([2, 2])] * 2, np.array([0, 0]))),
        r"net\.nir:w: AvgPool2d: input of shape \(4,\) found",
    ),
    "flattened beyond": (
        lambda: small(w=nir.Flatten({"input": np.array([4])}, 0, 1)),
        r"net\.nir:w: flattens axes 0 to 1 of \(4,\), whose axes are 0 to 0",
    ),
    "infinite weight": (lambda: small(w=nir.Linear(np.full((3, 4), np.inf))), "w/weight: holds NaN or infinite"),
    "bias length": (lambda: small(w=nir.Affine(np.ones((3, 4)), np.ones(4))), r"net\.nir:w: bias of shape \(4,\)"),
    "conv bias length": (lambda: conv_net(conv(bias=9)), r"net\.nir:c: bias of shape \(9,\)"),
    "groups": (lambda: conv_net(conv(weight=(2, 1, 3, 3), groups=3)), r"net\.nir:c: Conv"),
    "zero groups": (lambda: conv_net(conv(groups=0)), r"net\.nir:c: groups \(0,\)"),
    "matrix shape": (lambda: small(w=nir.Linear(np.ones((3, 5)))), r"net\.nir:w: Linear: input of shape \(4,\)"),
    "neuron shape": (lambda: small(neurons=if_node(7)), r"neurons/r: shape \(7,\) found, but \(3,\) arrives"),
    "cycle of another shape": (edges(("neurons", "w")), r"net\.nir:w: shape \(3,\) comes back from 'neurons'"),
    "cycle without neurons": (
        lambda: nir.NIRGraph(
            {**small().nodes, "scale": nir.Scale(np.ones(4))},
            [*small().edges, ("input", "scale"), ("scale", "scale")],
            type_check=False,
        ),
        "a loop without neurons: scale",
    ),
    "dangling": (edges(("neurons", "nobody")), "edge neurons -> nobody leads to no node"),
    "edge into input": (edges(("w", "input")), "leads into the input|a cycle"),
    "edge twice": (edges(("w", "neurons")), "is there twice"),
    "lost node": (edges(without=[("input", "w")]), r"net\.nir:w: nothing leads to it"),
    "two inputs": (lambda: small(second=nir.Input(np.array([4]))), r"inputs \['input', 'second'\]"),
    "no output": (lambda: small(output=if_node(3)), "there is no output"),
    "huge": (
        lambda: chain(input=nir.Input(np.array([2**20, 2**20])), output=nir.Output(np.array([2**20, 2**20]))),
        "more than",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_by_name(fault, save):
    make, message = FAULTS[fault]
    with pytest.raises((FormatError, UnsupportedError), match=message) as caught:
        import_nir(save(make(), check=False), dt=0.1)
    assert "net.nir" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_ladder_of_joins_is_refused_before_it_explodes(save):
    nodes, edges = {"input": nir.Input(np.array([2]))}, []
    previous = ["input"]
    for level in range(30):
        now = [f"n{level:02d}{side}" for side in "ab"]
        nodes |= {name: nir.Linear(np.eye(2)) for name in now}
        edges += [(a, b) for a in previous for b in now]
        previous = now
    nodes |= {"z": if_node(2), "zz": nir.Output(np.array([2]))}
    edges += [*((a, "z") for a in previous), ("z", "zz")]
    with pytest.raises(FormatError, match="more than 4096 paths"):
        read_nir(save(nir.NIRGraph(nodes, edges), check=False))
