"""Trained spiking networks from NIR: what their own tools compute, what rounding moves, and how loops are read."""

import itertools
from dataclasses import replace

import h5py
import nir
import numpy as np
import pytest
import torch
from torch import nn

from hw_targets.lava_runtime import run_on_lava
from sim import golden, simulate
from toolchain.exchange.moved import measure_moved, random_events
from toolchain.exchange.nir import import_nir, write_nir
from toolchain.netlist import CubaLif, InputError, LeakyReadout, Readout, UnsupportedError

T, N = 60, 4


def write(graph, path):
    """Write what another package exported: `nir` itself writes no tensors and no 0-d arrays."""
    for node in graph.nodes.values():
        if isinstance(node, nir.NIRGraph):
            continue
        for name, value in vars(node).items():
            if name not in ("input_type", "output_type", "metadata"):
                array = value.detach().numpy() if isinstance(value, torch.Tensor) else value
                setattr(node, name, np.atleast_1d(array) if isinstance(array, np.ndarray | np.generic) else array)
    nir.write(path, graph)
    return path


def linear(inputs, outputs):
    """A layer whose neurons fire."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight *= 6
        layer.bias *= 0.3
    return layer


def chain(**nodes):
    return nir.NIRGraph(nodes, list(itertools.pairwise(nodes)), type_check=False)


def events(seed=0, features=6, rate=0.2):
    return (np.random.default_rng(seed).random((T, N, features)) < rate).astype(np.int8)


def snntorch_network(hidden, **options):
    import snntorch as snn

    torch.manual_seed(0)
    vector = lambda n, value: torch.full((n,), value)  # noqa: E731
    first = {"alpha": vector(5, 0.8), "beta": vector(5, 0.9), "threshold": vector(5, 1.0), "init_hidden": True}
    last = snn.Leaky(beta=vector(3, 0.7), threshold=vector(3, 1.0), init_hidden=True, output=True, **options)
    own = {"linear_features": 5} if hidden == "RSynaptic" else {}
    return nn.Sequential(linear(6, 5), getattr(snn, hidden)(**first, **own, **options), linear(5, 3), last)


def snntorch_file(path, hidden, **options):
    """Write a network of its own: exporting leaves hooks behind."""
    from snntorch.export_nir import export_to_nir

    return write(export_to_nir(snntorch_network(hidden, **options), torch.rand(6)), path)


def test_snntorch(tmp_path):
    """Currents and potentials that leak, and biases: the spikes that snntorch computes."""
    # Reset within the timestep, as NIR has it; snntorch's default waits for the next one.
    options = {"reset_mechanism": "zero", "reset_delay": False}
    path = snntorch_file(tmp_path / "net.nir", "Synaptic", **options)
    network, frames = snntorch_network("Synaptic", **options), events()
    with torch.no_grad():
        spikes = [network(torch.from_numpy(frame).float())[0].numpy() for frame in frames]
    imported = import_nir(path, timesteps=T, dt=1e-4)
    out = imported.netlist.spiking[-1].name
    assert np.any(spikes)
    np.testing.assert_array_equal(imported.real.run(frames)[out], spikes)
    moved = {m.population: m for m in measure_moved(imported, frames).moved}
    assert moved[out].spikes == np.sum(spikes)
    assert moved[out].moved <= 0.1 * moved[out].payloads


def test_a_layer_that_feeds_itself(tmp_path):
    """snntorch's RSynaptic: a subgraph with a loop, whose bias is always there; computed from its weights."""
    imported = import_nir(snntorch_file(tmp_path / "net.nir", "RSynaptic"), timesteps=T, dt=1e-4, reset="subtract")
    network, frames = snntorch_network("RSynaptic"), events()
    weights = {k: v.detach().numpy().astype(np.float64) for k, v in network.state_dict().items()}
    syn, mem, spikes = (np.zeros((N, 5)) for _ in range(3))
    (hidden,) = (p.name for p in imported.netlist.spiking if p.shape == (5,))
    found = imported.real.run(frames)[hidden]
    for t in range(T):
        arriving = frames[t] @ weights["0.weight"].T + weights["0.bias"]
        arriving = arriving + spikes @ weights["1.recurrent.weight"].T + weights["1.recurrent.bias"]
        syn = 0.8 * syn + arriving
        mem = 0.9 * mem + syn
        spikes = (mem > 1).astype(float)
        mem = mem - spikes
        np.testing.assert_array_equal(found[t], spikes)
    assert found.any()
    loops = [c for c in imported.netlist.connections if c.delay]
    assert [(c.name, c.delay) for c in loops] == [(f"{hidden}->{hidden}", 1)]


def test_norse(tmp_path):
    """LIF and a leaky readout: norse's own spikes and potentials, at its dt over its time constants."""
    import norse.torch as norse

    torch.manual_seed(0)
    network = norse.SequentialState(linear(6, 5), norse.LIFBoxCell(), linear(5, 3), norse.LIBoxCell()).double()
    frames, state, potentials = events(), None, []
    with torch.no_grad():
        for frame in frames:
            out, state = network(torch.from_numpy(frame).double(), state)
            potentials.append(out.numpy())
    # It writes dt / tau_mem_inv for tau, whose dt is then squared: 0.001 s twice.
    path = write(norse.to_nir(network, torch.rand(1, 6).double()), tmp_path / "net.nir")
    imported = import_nir(path, timesteps=T, dt=1e-6)
    trace = simulate(imported.netlist, frames)
    (moved,) = imported.real.compare(trace)
    assert moved.spikes > 0
    assert moved.moved == 0
    readout = imported.netlist.readouts[0]
    assert isinstance(readout, LeakyReadout)
    np.testing.assert_allclose(trace.readout * readout.scale, potentials, atol=0.02 * np.abs(potentials).max())


def test_spikingjelly(tmp_path):
    """LIF with and without decay of its input, and CUBA: the spikes that spikingjelly computes."""
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    torch.manual_seed(1)
    first, last = neuron.LIFNode(tau=2.0, v_reset=0.0), neuron.LIFNode(tau=3.0, decay_input=False, v_reset=0.0)
    network = nn.Sequential(linear(6, 5), first, linear(5, 3), last)
    path = write(export_to_nir(network, torch.rand(1, 6)), tmp_path / "net.nir")
    network = network.double()
    frames = events(3)
    functional.reset_net(network)
    with torch.no_grad():
        spikes = [network(torch.from_numpy(frame).double()).numpy() for frame in frames]
    imported = import_nir(path, timesteps=T, dt=1e-4)
    out = imported.netlist.spiking[-1].name
    assert np.any(spikes)
    np.testing.assert_array_equal(imported.real.run(frames)[out], spikes)


def test_sinabs(tmp_path):
    """tau in timesteps, so that dt is 1; reset by subtraction has to be said."""
    import sinabs.layers as sl
    from sinabs.nir import to_nir

    torch.manual_seed(2)
    network = nn.Sequential(linear(6, 5), sl.LIF(tau_mem=4.0), linear(5, 3), sl.ExpLeak(tau_mem=6.0))
    path = write(to_nir(network, torch.rand(1, 6)), tmp_path / "net.nir")
    for reset in ("zero", "subtract"):
        imported = import_nir(path, timesteps=T, dt=1.0, reset=reset)
        hidden = imported.netlist.spiking[0]
        assert hidden.reset == reset
        (moved,) = imported.real.compare(simulate(imported.netlist, events(rate=0.8)))
        assert moved.spikes > 0
        assert moved.moved <= 0.02 * moved.payloads


def test_integrate_and_fire_that_resets_to_zero(tmp_path):
    """As NIR says it, where that is asked for: without a leak, exactly."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 9, (5, 6)).astype(np.float64)
    node = nir.IF(np.ones(5), np.full(5, 12.0))
    graph = chain(i=nir.Input(np.array([6])), w=nir.Linear(weight), n=node, o=nir.Output(np.array([5])))
    imported = import_nir(write(graph, tmp_path / "net.nir"), timesteps=T, reset="zero")
    frames = events()
    trace, v = golden.simulate(imported.netlist, frames), np.zeros((N, 5))
    for t in range(T):
        v += frames[t] @ weight.T
        np.testing.assert_array_equal(trace.spikes["n"][t], v > 12)
        v[v > 12] = 0
    assert trace.spikes["n"].any()


def lif(n, *, tau=0.005, threshold=1.0, r=10.0, reset=0.0, leak=0.0):
    return nir.LIF(*(np.full(n, value) for value in (tau, r, leak, threshold, reset)))


def looped(delay=None, back=("b", "a")):
    """Two populations that feed each other, in a subgraph; with `delay`, through a node of its own."""
    rng = np.random.default_rng(5)
    weights = {"wa": (4, 6), "wb": (3, 4), "wc": (4, 3)}
    nodes = {name: nir.Linear(rng.normal(0, 1.5, shape)) for name, shape in weights.items()}
    edges = [("input", "wa"), ("wa", "a"), ("a", "wb"), ("wb", "b"), ("b", "wc"), ("b", "output")]
    nodes |= {"a": lif(4), "b": lif(3)}
    ports = {"input": nir.Input(np.array([6])), "output": nir.Output(np.array([3]))}
    if delay is None:
        edges.append(("wc", "a"))
    else:
        nodes["wait"] = nir.Delay(np.full(3, delay))
        nodes["wc"], edges = nodes["wc"], [e for e in edges if e != ("b", "wc")]
        edges += [("b", "wait"), ("wait", "wc"), ("wc", "a")]
    inner = nir.NIRGraph({**nodes, **ports}, edges, type_check=False)
    outer = {"in": nir.Input(np.array([6])), "net": inner, "out": nir.Output(np.array([3]))}
    return nir.NIRGraph(outer, [("in", "net"), ("net", "out")], type_check=False)


def test_a_loop_over_two_populations(tmp_path):
    """A subgraph; one edge of the loop waits a timestep, which simulates, but is too fast for a pipeline."""
    imported = import_nir(write(looped(), tmp_path / "net.nir"), timesteps=T, dt=1e-3)
    netlist = imported.netlist
    assert [c.name for c in netlist.connections if c.delay] == ["net.b->net.a"]
    trace = simulate(netlist, events())
    for moved in imported.real.compare(trace):
        assert moved.spikes > 0
        assert moved.moved <= 0.05 * moved.payloads
    with pytest.raises(UnsupportedError, match=r"the loop .* more hops than timesteps"):
        run_on_lava(netlist, events())


@pytest.mark.lava
def test_recurrent_networks_on_lava(tmp_path):
    """A delay in the loop balances it; and a layer that feeds itself, its biases carried by a neuron."""
    loop = write(looped(delay=0.003), tmp_path / "loop.nir")
    itself = snntorch_file(tmp_path / "self.nir", "RSynaptic")
    for name, path, dt, delays in (("loop", loop, 1e-3, {0, 3}), ("self", itself, 1e-4, {0, 1})):
        netlist = import_nir(path, timesteps=20, dt=dt).netlist
        assert {c.delay for c in netlist.connections} == delays
        frames = events()[:20]
        expected, found = golden.simulate(netlist, frames), run_on_lava(netlist, frames, time_limit=60)
        for population, values in expected.populations.items():
            np.testing.assert_array_equal(found.populations[population], values, err_msg=f"{population} of {name}")
            assert values.any()


def test_a_reset_that_is_not_zero_and_a_leak_to_elsewhere(tmp_path):
    """Potentials are counted from the reset: the float network, written out by NIR's equations, agrees."""
    rng = np.random.default_rng(3)
    weight, bias = rng.normal(0, 2, (5, 6)), rng.normal(0, 0.2, 5)
    node = lif(5, tau=0.01, threshold=1.5, r=3.0, reset=-0.4, leak=0.3)
    graph = chain(i=nir.Input(np.array([6])), w=nir.Affine(weight, bias), n=node, o=nir.Output(np.array([5])))
    imported = import_nir(write(graph, tmp_path / "net.nir"), timesteps=T, dt=1e-3)
    frames, v = events(), np.full((N, 5), -0.4)
    spikes = imported.real.run(frames)["n"]
    for t in range(T):
        v = v + 0.1 * (0.3 - v + 3.0 * (frames[t] @ weight.T + bias))
        np.testing.assert_array_equal(spikes[t], v > 1.5)
        v[v > 1.5] = -0.4
    assert spikes.any()
    (moved,) = measure_moved(imported, frames).moved
    assert moved.moved <= 0.03 * moved.payloads


def test_more_weight_bits_move_fewer_spikes(tmp_path, adafire_data):
    """The recurrent network of NIR's paper."""
    path = adafire_data / "spiking_files" / "braille_noDelay_bias_zero.nir"
    shares = []
    for bits in (6, 8, 16):
        imported = measure_moved(import_nir(path, timesteps=100, dt=1e-4, weight_bits=bits))
        shares.append(sum(m.moved for m in imported.moved) / sum(m.payloads for m in imported.moved))
        assert [m.population for m in imported.moved] == ["lif1.lif", "lif2"]
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.01


def test_every_file_of_the_paper_is_read(adafire_data):
    for name, dt in (("lif_norse", 1e-4), ("lif_rockpool", 1e-4), ("two_lif_neurons", 1e-3)):
        imported = import_nir(adafire_data / "spiking_files" / f"{name}.nir", timesteps=T, dt=dt)
        frames = random_events(imported.netlist.input, T)
        first = imported.real.compare(simulate(imported.netlist, frames))[0]
        assert first.spikes > 0
        assert first.moved <= 0.02 * first.payloads
        assert isinstance(imported.netlist.readouts[0], Readout)
        assert any(isinstance(p, CubaLif) for p in imported.netlist.populations)


def test_a_file_without_dt_says_what_it_suggests(tmp_path):
    graph = chain(i=nir.Input(np.array([3])), n=lif(3, tau=0.002, r=20.0), o=nir.Output(np.array([3])))
    path = write(graph, tmp_path / "net.nir")
    with pytest.raises(InputError, match=r"NIR says no timestep; say `dt` in seconds: tau / r is 0.0001 s"):
        import_nir(path)
    for dt in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="expected a positive time in seconds"):
            import_nir(path, dt=dt)


@pytest.mark.parametrize("graph", [looped(), looped(delay=0.003)])
def test_there_and_back(graph, tmp_path):
    """The identical netlist; and from the nodes alone, at the dt that they are written for, the same integers."""
    netlist = import_nir(write(graph, tmp_path / "net.nir"), timesteps=T, dt=1e-3).netlist
    report = write_nir(netlist, tmp_path / "ours.nir")
    assert any("one timestep is 0.001 s" in loss.what for loss in report.losses)
    assert import_nir(tmp_path / "ours.nir").netlist.content_hash == netlist.content_hash
    with h5py.File(tmp_path / "ours.nir", "r+") as file:
        del file["node/metadata"]
    bare = import_nir(tmp_path / "ours.nir", timesteps=T, dt=1e-3).netlist
    expected, found = golden.simulate(netlist, events()), golden.simulate(bare, events())
    for name, values in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], values, err_msg=name)


def test_what_nir_cannot_say_is_refused(make_netlist, tmp_path):
    with pytest.raises(UnsupportedError, match=r"never decays \(0\) has no time constant"):
        write_nir(make_netlist("leaky"), tmp_path / "net.nir")
    netlist = make_netlist("recurrent")
    slow = tuple(
        replace(p, current_decay=np.maximum(p.current_decay, 1), voltage_decay=np.maximum(p.voltage_decay, 1))
        if isinstance(p, CubaLif | LeakyReadout)
        else p
        for p in netlist.populations
    )
    with pytest.raises(UnsupportedError, match="delays of single synapses"):
        write_nir(replace(netlist, populations=slow), tmp_path / "net.nir")


def test_maps_and_biases_into_currents_with_a_memory(tmp_path):
    """Convolutions, pooling and a leaky readout: one neuron reaches every position with its channel's bias."""
    rng = np.random.default_rng(0)
    leaky = {"tau_syn": 0.0005, "tau_mem": 0.002, "r": 20.0, "v_leak": 0.0, "w_in": 5.0}

    def cuba(kind, shape, **more):
        return kind(**{name: np.full(shape, value) for name, value in {**leaky, **more}.items()})

    graph = chain(
        input=nir.Input(np.array([2, 8, 8])),
        c1=nir.Conv2d((8, 8), rng.normal(0, 0.3, (4, 2, 3, 3)), 1, 1, 1, 1, rng.normal(0, 0.1, 4)),
        n1=cuba(nir.CubaLIF, (4, 8, 8), v_threshold=1.0),
        pool=nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        flat=nir.Flatten({"input": np.array([4, 4, 4])}, 0, 2),
        last=nir.Affine(rng.normal(0, 0.3, (5, 64)), rng.normal(0, 0.1, 5)),
        out=cuba(nir.CubaLI, 5),
        output=nir.Output(np.array([5])),
    )
    imported = import_nir(write(graph, tmp_path / "net.nir"), timesteps=30, dt=1e-4)
    netlist = imported.netlist
    frames = (rng.random((30, 3, 2, 8, 8)) < 0.2).astype(np.int8)
    trace = golden.simulate(netlist, frames)
    np.testing.assert_array_equal(simulate(netlist, frames).readout, trace.readout)
    (moved,) = imported.real.compare(trace)
    assert moved.population == "n1"
    assert moved.moved <= 0.03 * moved.payloads
    assert [c.name for c in netlist.connections if c.source == "one_1"] == ["one_1->n1", "one_1->out"]
    assert trace.spikes["one_1"].all()
