"""Files of slayer: the spikes of lava-dl's own Network on Lava, every layer and step; out again; refusals."""

import contextlib
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from lava_dl import lava_dl

from sim import golden
from toolchain.exchange.netx import read_netx, write_netx
from toolchain.exchange.netx.synapses import effective_matrix
from toolchain.netlist import FormatError, LeakyReadout, UnsupportedError

#: Runs files in lava-dl's Network, sample after sample, and saves what every layer sends at every step.
EVERY_LAYER = """
    import json


    def every_layer(folder, timesteps):
        given = np.load(f"{folder}/given.npy")
        enters_by_bias = given.ndim == 4
        samples = len(given) if enters_by_bias else given.shape[1]
        # A first synapse takes a step that input neurons do not.
        first = 0 if enters_by_bias else 1
        network = Network(f"{folder}/a.net", reset_interval=timesteps, reset_offset=first)
        steps = timesteps * samples + len(network.layers) + first
        sinks = [Sink(shape=layer.out.shape, buffer=steps) for layer in network.layers]
        for layer, sink in zip(network.layers, sinks):
            layer.out.connect(sink.a_in)
        settings = Loihi2SimCfg(select_tag="fixed_pt")
        if enters_by_bias:
            held = given.transpose(0, 3, 2, 1)
            neuron = network.in_layer.neuron
            neuron.bias_mant.init = held[0].astype(np.int32)
            for n in range(samples):
                if n:
                    neuron.bias_mant.set(held[n].astype(np.int16))
                left = timesteps if n < samples - 1 else steps - n * timesteps
                sinks[-1].run(RunSteps(left), run_cfg=settings)
        else:
            stream = given.swapaxes(0, 1).reshape(timesteps * samples, *given.shape[2:])
            stream = stream.reshape(len(stream), *reversed(network.inp.shape)).transpose()
            source = Source(data=np.ascontiguousarray(stream, dtype=np.int32))
            source.s_out.connect(network.inp)
            source.run(RunSteps(steps), run_cfg=settings)
        for i, sink in enumerate(sinks):
            found = sink.data.get().astype(np.int64)[..., first + i :][..., : timesteps * samples].transpose()
            found = found.reshape(samples, timesteps, *found.shape[1:]).swapaxes(0, 1)
            np.save(f"{folder}/{i}.npy", found)
        sinks[-1].stop()
        return len(sinks)


    print(json.dumps({name: every_layer(f"{sys.argv[1]}/{name}", int(t)) for name, t in json.loads(sys.argv[2])}))
"""


class Cases:
    """Files and what enters them, run here and, all in one process, by lava-dl."""

    def __init__(self, folder):
        self.folder, self.traces = folder, {}

    def add(self, name, make, payloads, *, timesteps=None):
        """Add a file that `make` writes to the path it is handed; return its netlist."""
        (self.folder / name).mkdir()
        make(self.folder / name / "a.net")
        netlist = read_netx(self.folder / name / "a.net", timesteps=timesteps).netlist
        given = payloads
        if netlist.input.coding == "direct":
            # What a user of lava-dl writes into the bias of its input neurons.
            sign = -1 if netlist.inputs("layer0")[0].operators else 1
            given = sign * payloads.astype(np.int64) + (netlist["layer0"].bias.ravel()[0] >> 6)
        np.save(self.folder / name / "given.npy", given)
        self.traces[name] = netlist, golden.simulate(netlist, payloads)
        return netlist

    def assert_lava_dl_agrees(self):
        timesteps = [[name, netlist.timesteps] for name, (netlist, _) in self.traces.items()]
        counts = lava_dl(EVERY_LAYER, self.folder, json.dumps(timesteps))
        for name, (netlist, trace) in self.traces.items():
            layers = [p for p in netlist.populations if p.name.startswith("layer")]
            assert counts[name] == len(layers)
            for i, layer in enumerate(layers):
                found = np.load(self.folder / name / f"{i}.npy")
                where = f"{layer.name} of {name}"
                if layer.emits:
                    np.testing.assert_array_equal(found, trace.spikes[layer.name].reshape(found.shape), where)
                    assert found.any(), f"{where} shows nothing"
                else:
                    assert not found.any(), where


def slayer_file(path, **changes):
    """A hand-made file of one CUBA layer and an integrator; `changes` replace or remove datasets."""
    values = {
        "layer/0/type": np.array([b"dense"], "S10"),
        "layer/0/shape": np.array([3, 1, 1]),
        "layer/0/weight": np.array([[2.0, 0, 0, 0], [0, 2, -2, 0], [0, -4, 0, 2]], np.float32),
        "layer/0/neuron/type": "CUBA",
        "layer/0/neuron/iDecay": 1024,
        "layer/0/neuron/vDecay": 128,
        "layer/0/neuron/vThMant": 5,
        "layer/0/neuron/refDelay": 1,
        "layer/0/neuron/gradedSpike": False,
        "layer/1/type": np.array([b"dense"], "S10"),
        "layer/1/shape": np.array([2, 1, 1]),
        "layer/1/weight": np.array([[6, -8, 2], [2, 4, 10]]),
        "simulation/tSample": 8,
        **{name.replace("__", "/"): value for name, value in changes.items()},
    }
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            if value is not None:
                file[name] = value
    return path


def neuron(layer, i_decay, v_decay, threshold):
    values = {"type": "CUBA", "iDecay": i_decay, "vDecay": v_decay, "vThMant": threshold, "refDelay": 1}
    return {f"layer__{layer}__neuron__{name}": value for name, value in values.items()}


def convolutional_file(path, seed=0):
    """Input neurons, a strided convolution, flattening and two dense layers, the last with odd large weights."""
    rng = np.random.default_rng(seed)
    kind = lambda name: np.array([name], "S10")  # noqa: E731
    return slayer_file(
        path,
        layer__0__type=kind(b"input"),
        layer__0__shape=[2, 7, 5],
        layer__0__weight=np.float32(-40),
        layer__0__bias=np.float32(36),
        **neuron(0, 4096, 1024, 25),
        layer__1__type=kind(b"conv"),
        layer__1__shape=[4, 3, 5],
        layer__1__weight=rng.integers(-20, 30, (4, 2, 3, 3, 1)).astype(np.float32),
        layer__1__bias=rng.integers(-4, 10, 4).astype(np.float32),
        layer__1__stride=[2, 1],
        layer__1__padding=[0, 1],
        layer__1__dilation=[1, 1],
        layer__1__groups=1,
        **neuron(1, 2000, 700, 30),
        layer__2__type=kind(b"flatten"),
        layer__3__type=kind(b"dense"),
        layer__3__shape=[9, 1, 1],
        layer__3__weight=rng.integers(-100, 128, (9, 60)),
        layer__3__bias=rng.integers(-9, 9, 9),
        **neuron(3, 900, 300, 90),
        layer__4__type=kind(b"dense"),
        layer__4__shape=[3, 1, 1],
        layer__4__weight=rng.integers(-180, 255, (3, 9)),
        **neuron(4, 4096, 0, 400),
        simulation__tSample=12,
    )


#: A program that lets slayer write a file, and lava-dl and Lava prepare weights.
SLAYER = """
    import json
    import h5py
    import torch
    from lava.lib.dl import slayer

    torch.manual_seed(0)
    neuron = {"threshold": 0.4, "current_decay": 0.3, "voltage_decay": 0.1}
    blocks = [
        slayer.block.cuba.Conv(neuron, 2, 3, 3, padding=1, weight_scale=3),
        slayer.block.cuba.Flatten(),
        slayer.block.cuba.Dense(neuron, 90, 7, weight_scale=3),
        slayer.block.cuba.Affine(neuron, 7, 4),
    ]
    x = torch.zeros(1, 2, 6, 5, 4)
    for block in blocks:
        x = block(x)
    with h5py.File(sys.argv[1], "w") as file:
        first = file.create_group("layer/0")
        first["type"] = np.array([b"input"], dtype="S10")
        first["shape"] = np.array([2, 6, 5])
        for index, block in enumerate(blocks, 1):
            block.export_hdf5(file.create_group(f"layer/{index}"))
        file["simulation/Ts"] = 1
        file["simulation/tSample"] = 10

    from lava.lib.dl.netx.utils import optimize_weight_bits
    from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights

    # What lava-dl makes of weights, Lava's Dense of that, and what arrives for some spikes.
    data = np.load(sys.argv[2])
    currents = []
    for weight in data["weights"]:
        stored, bits, exponent, _ = optimize_weight_bits(weight)
        mode = determine_sign_mode(stored)
        stored = truncate_weights(clip_weights(stored, mode, num_bits=8), mode, bits)
        sums = stored @ data["spikes"].T
        currents.append((sums << exponent if exponent > 0 else sums >> -exponent).tolist())
    print(json.dumps(currents))
"""


@pytest.fixture(scope="module")
def slayers(tmp_path_factory):
    """A file that slayer wrote; weights, spikes, and the currents that lava-dl and Lava make of them."""
    folder, rng = tmp_path_factory.mktemp("slayer"), np.random.default_rng(0)
    weights = []
    while len(weights) < 300:
        low, high = rng.choice([0, -1, -64, -128, -129, -200]), rng.choice([0, 1, 3, 127, 128, 254])
        weight = rng.integers(low, high + 1, (3, 4)) * rng.choice([1, 1, 2])
        with contextlib.suppress(UnsupportedError):
            effective_matrix("weights", weight)
            weights += [weight] if weight.any() else []
    spikes = rng.integers(0, 2, (5, 4))
    np.savez(folder / "given.npz", weights=np.stack(weights), spikes=spikes)
    currents = lava_dl(SLAYER, folder / "slayer.net", folder / "given.npz")
    return folder / "slayer.net", np.stack(weights), spikes, np.array(currents)


@pytest.mark.lava
def test_every_layer_is_lava_dls(slayers, tmp_path):
    """Samples back to back: in through biases, and from the file written again; delays; a file of slayer itself."""
    cases, rng = Cases(tmp_path), np.random.default_rng(1)
    held = rng.integers(-60, 60, (2, 2, 7, 5)).astype(np.int8)
    netlist = cases.add("convolutional", convolutional_file, held)
    again = cases.add("again", lambda path: write_netx(netlist, path), held)
    assert again.content_hash == netlist.content_hash
    frames = (rng.random((90, 2, 4)) < 0.6).astype(np.uint8)
    # lava-dl's delays carry what is under way into the next sample: nothing is, at its end.
    frames[-63:] = 0
    for name, delay in {
        "one": 2,
        "per_neuron": [0, 3, 1],
        "per_synapse": [[0, 1, 2, 0], [3, 0, 0, 0], [0, 0, 0, 5]],
        "per_source": [0, 1, 2, 62],
    }.items():
        changes = {"layer__0__delay": np.array(delay), "simulation__tSample": 90}
        delayed = cases.add(name, lambda path, changes=changes: slayer_file(path, **changes), frames)
        write_netx(delayed, tmp_path / "written.net")
        for one, other in zip(
            delayed.connections, read_netx(tmp_path / "written.net").netlist.connections, strict=True
        ):
            np.testing.assert_array_equal(np.broadcast_to(one.delay, np.shape(other.delay)), other.delay)
    spikes = (rng.random((10, 3, 2, 6, 5)) < 0.4).astype(np.uint8)
    own = cases.add("slayer", lambda path: path.write_bytes(slayers[0].read_bytes()), spikes)
    # The affine layer has slayer's greatest threshold: its potential is the output.
    assert isinstance(own.populations[-1], LeakyReadout)
    assert np.unique(cases.traces["slayer"][1].readout).size > 10
    if (trained := Path(os.environ.get("ADAFIRE_DATA", "")) / "spiking_files" / "oxford.net").is_file():
        sparse = (rng.random((40, 2, 200)) < 0.005).astype(np.uint8)
        cases.add("oxford", lambda path: path.write_bytes(trained.read_bytes()), sparse, timesteps=40)
    cases.assert_lava_dl_agrees()


def test_a_network_of_eleven_layers_is_read(adafire_data):
    """Too large for lava-dl in a test: the figures of the comparison are in docs/lava.md."""
    imported = read_netx(adafire_data / "spiking_files" / "pilotnet_snn.net")
    netlist = imported.netlist
    assert netlist.timesteps == 16
    assert [type(p).__name__ for p in netlist.populations] == ["Input", *["CubaLif"] * 9, "LeakyReadout"]
    assert netlist.input.scale == 1 / 40
    assert any("data are rounded to 36 + 40 x" in loss.what for loss in imported.report.losses)


@pytest.mark.lava
def test_weights_are_lavas(slayers):
    """lava-dl's choice of bits and Lava's clipping, on matrices that reach the ends of their range."""
    _, weights, spikes, currents = slayers
    effective = np.stack([effective_matrix("weights", weight) for weight in weights])
    np.testing.assert_array_equal(effective @ spikes.T, currents)
    assert np.any(effective != weights)


def test_pooling_recurrence_and_average_are_slayers_definition(tmp_path):
    """lava-dl's Network runs none of them: computed by hand from the formulas of slayer."""
    rng = np.random.default_rng(3)
    kind = lambda name: np.array([name], "S10")  # noqa: E731
    path = slayer_file(
        tmp_path / "a.net",
        layer__0__type=kind(b"input"),
        layer__0__shape=[2, 4, 4],
        layer__0__weight=None,
        layer__0__neuron__type=None,
        **{f"layer__0__neuron__{n}": None for n in ("iDecay", "vDecay", "vThMant", "refDelay", "gradedSpike")},
        layer__1__type=kind(b"pool"),
        layer__1__shape=[2, 2, 2],
        layer__1__weight=np.full((1, 1, 2, 2), 10.0),
        layer__1__kernelSize=[2, 2],
        layer__1__stride=[2, 2],
        layer__1__padding=[0, 0],
        layer__1__dilation=[1, 1],
        **neuron(1, 4096, 0, 15),
        layer__2__type=kind(b"flatten"),
        layer__3__type=kind(b"dense_rec"),
        layer__3__shape=[6, 1, 1],
        layer__3__weight=rng.integers(-20, 60, (6, 8)),
        layer__3__weight_rec=rng.integers(-60, 60, (6, 6)),
        **neuron(3, 1500, 400, 50),
        layer__4__type=kind(b"average"),
        layer__4__shape=[2, 1, 1],
        simulation__tSample=10,
    )
    imported = read_netx(path)
    netlist = imported.netlist
    frames = (rng.random((10, 3, 2, 4, 4)) < 0.5).astype(np.uint8)
    trace = golden.simulate(netlist, frames)
    # No decay, no loss: the pooled potential is what four neurons sent since the last spike, times ten.
    potential, own = np.zeros((3, 2, 2, 2)), netlist.inputs("layer3")[1]
    assert own.delay == 1
    for t in range(10):
        potential += 10 * frames[t].reshape(3, 2, 2, 2, 2, 2).sum((3, 5))
        np.testing.assert_array_equal(trace.spikes["layer1"][t], potential > 15)
        potential[potential > 15] = 0
    u, v, before = (np.zeros((3, 6)) for _ in range(3))
    weight, recurrent = netlist.inputs("layer3")[0].operators[-1].weight, own.operators[-1].weight
    for t in range(10):
        arriving = trace.spikes["layer1"][t].reshape(3, 8) @ weight.T + before @ recurrent.T
        u = np.trunc(u * (4096 - 1500) / 4096) + 64 * arriving
        v = np.trunc(v * (4096 - 400) / 4096) + u
        before = (v > 64 * 50).astype(int)
        v[before == 1] = 0
        np.testing.assert_array_equal(trace.spikes["layer3"][t], before)
    counts = trace.spikes["layer3"].sum(0, dtype=np.int64).reshape(3, 2, 3).sum(-1)
    np.testing.assert_array_equal(trace.readout[-1], counts)
    np.testing.assert_allclose(netlist.readouts[0].scale, 1 / 3)
    assert sum("slayer's definition" in loss.what for loss in imported.report.losses) == 2
    with pytest.raises(UnsupportedError):
        write_netx(netlist, tmp_path / "b.net")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer__0__neuron__iDecay": 4097}, "iDecay: 4097 .. 4097 found, expected 0 to 4096"),
        ({"layer__0__neuron__vDecay": -1}, "vDecay: -1 .. -1 found, expected 0 to 4096"),
        ({"layer__0__neuron__vThMant": 0}, "vThMant: 0 .. 0 found, expected 1"),
        ({"layer__0__neuron__refDelay": 2}, "a refractory period of more than 1"),
        ({"layer__0__neuron__gradedSpike": True}, "graded CUBA spikes"),
        ({"layer__0__neuron__type": "SDNN"}, "neurons of type 'SDNN'"),
        ({"layer__0__neuron__type": "RF_PHASE"}, "neurons of type 'RF_PHASE'"),
        ({"layer__0__weight": np.array([[1.5, 2, 0, 0]] * 3)}, "expected integers"),
        ({"layer__0__weight": np.array([[300, 2, 0, 0]] * 3)}, "more than a synapse of 8 bits holds"),
        ({"layer__0__delay": np.array([0, 1, 2, 63])}, "a delay of 63 timesteps found, at most 62"),
        ({"layer__0__delay": np.array([0, 1])}, r"delays of shape \(2,\) found"),
        ({"layer__0__delay": np.array([0, -1, 0])}, "a delay of -1 found"),
        ({"layer__0__type": np.array([b"unpool"], "S10")}, "a layer of type 'unpool'"),
        ({"layer__0__neuron__vThMant": (1 << 18) - 1}, "never fires"),
        ({"layer__0__shape": np.array([0, 1, 1])}, "does not hold together|expected"),
        ({"layer__0__shape": np.array([5, 1, 1])}, "expected 5 rows"),
        ({"layer__1__weight": np.ones((2, 7))}, "takes|expected|input features"),
        ({"layer__0__neuron__iDecay": np.array([1, 2])}, "2 values found for neurons"),
        ({"layer__0__bias": np.zeros(2)}, "2 values found for neurons"),
        ({"simulation__tSample": None}, "how many timesteps"),
        ({"simulation__tSample": 10**6}, "expected 1 to 4096"),
    ],
)
def test_files_that_mean_something_else(changes, message, tmp_path):
    slayer_file(tmp_path / "a.net", **changes)
    with pytest.raises((UnsupportedError, FormatError), match=message):
        read_netx(tmp_path / "a.net")


def test_a_weight_may_be_most_of_its_file(tmp_path):
    """What is read several times is charged once to what the file may claim."""
    weight = np.random.default_rng(0).integers(-9, 9, (64, 1568)).astype(np.float32)
    second = np.ones((2, 64), np.int64)
    slayer_file(tmp_path / "a.net", layer__0__weight=weight, layer__0__shape=[64, 1, 1], layer__1__weight=second)
    assert weight.nbytes > (tmp_path / "a.net").stat().st_size / 2
    netlist = read_netx(tmp_path / "a.net", timesteps=1).netlist
    np.testing.assert_array_equal(netlist.connections[0].operators[0].weight, weight)
