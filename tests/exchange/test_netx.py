"""netx files: ours into lava-dl's own Network and back, slayer's into a netlist or refused with the reason."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lava_dl import lava_dl

from sim import golden
from toolchain.exchange.lowering import merge_pool
from toolchain.exchange.netx import read_netx, write_netx
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    FormatError,
    Input,
    Linear,
    MaxPool,
    Netlist,
    NetlistError,
    Readout,
    Reshape,
    Scale,
    SumPool,
    UnsupportedError,
    apply_chain,
)

EVEN = ((1, 1), (1, 1))
NONE = ((0, 0), (0, 0))


class Sequence:
    """Grows a random sequence of layers."""

    def __init__(self, seed, shape, **fields):
        self.rng = np.random.default_rng(seed)
        defaults = {"bits": 8, "signed": True, "scale": 0.02, "coding": "direct"}
        zeros = np.zeros(shape[0])
        self.populations = [Input("input", shape, mean=zeros, std=zeros + 0.25, **{**defaults, **fields})]
        self.connections = []

    def add(self, population, *operators):
        self.connections.append(Connection(self.populations[-1].name, population.name, operators))
        self.populations.append(population)
        return self

    def weight(self, *shape):
        return self.rng.integers(-128, 128, shape)

    def fire(self, name, shape, *operators, phi=4, full=False):
        channels = shape if full else shape[:1]
        return self.add(
            AdaFire(
                name,
                shape,
                phi,
                self.rng.integers(200, 900, shape[0]),
                self.rng.integers(-60, 90, channels),
                self.rng.integers(-50, 300, channels),
                self.rng.uniform(0.1, 1, shape[0]),
            ),
            *operators,
        )

    def netlist(self, classes, *operators, timesteps=4, **fields):
        readout = Readout("logits", (classes,), self.rng.integers(-40, 40, classes), self.rng.uniform(0.1, 1, classes))
        self.add(readout, *operators)
        return Netlist(tuple(self.populations), tuple(self.connections), timesteps, **fields)


def convolutional(seed=0):
    """Stride, dilation, groups, uneven kernels, per-neuron biases; no product of operators."""
    s = Sequence(seed, (3, 8, 6))
    s.fire("a", (4, 8, 6), Conv(s.weight(4, 3, 3, 3), (1, 1), EVEN, (1, 1)), full=True)
    s.fire("b", (6, 4, 6), Conv(s.weight(6, 2, 3, 2), (2, 1), ((2, 2), (1, 1)), (2, 2), 2))
    s.fire("c", (10,), Reshape((144,)), Linear(s.weight(10, 144)), phi=15)
    return s.netlist(5, Linear(s.weight(5, 10)), alpha=(0.9, 0.8, 0.7, 0.6))


def pooled(seed=0):
    """Sum-pooling before a convolution, and global pooling before the readout."""
    s = Sequence(seed, (2, 8, 8), signed=False, bits=4)
    s.fire("a", (4, 8, 8), Conv(s.weight(4, 2, 3, 3), (1, 1), EVEN, (1, 1)))
    s.fire("b", (6, 4, 4), SumPool((2, 2), (2, 2), NONE), Conv(s.weight(6, 4, 3, 3), (1, 1), EVEN, (1, 1)))
    return s.netlist(3, SumPool((4, 4), (4, 4), NONE), Reshape((6,)), Linear(s.weight(3, 6)))


def dense(seed=0):
    """A picture flattened at once; a membrane so narrow that it saturates."""
    s = Sequence(seed, (1, 4, 4), bits=3)
    s.fire("a", (12,), Reshape((16,)), Linear(s.weight(12, 16)), phi=1)
    return s.netlist(4, Scale(s.rng.integers(-9, 9, 12)), Linear(s.rng.integers(-9, 9, (4, 12))), membrane_bits=11)


def frames(seed=0):
    """Event frames into flat populations."""
    s = Sequence(seed, (9,), coding="frames", signed=False, bits=2)
    s.fire("a", (12,), Linear(s.weight(12, 9)))
    return s.netlist(4, Linear(s.weight(4, 12)))


@pytest.mark.parametrize("make", [convolutional, dense, frames, pooled])
def test_a_file_comes_back(make, tmp_path, make_payloads):
    netlist = make()
    report = write_netx(netlist, tmp_path / "a.net")
    found = read_netx(tmp_path / "a.net").netlist
    merged = [loss.where for loss in report.losses if loss.reader == "netx"]
    payloads = make_payloads(netlist)
    expected, trace = golden.simulate(netlist, payloads), golden.simulate(found, payloads)
    assert trace.populations.keys() == expected.populations.keys()
    for name, values in expected.populations.items():
        np.testing.assert_array_equal(trace.populations[name], values)
    assert (found.content_hash == netlist.content_hash) == (merged == [])
    assert merged == {"convolutional": [], "frames": [], "dense": ["logits"], "pooled": ["b", "logits"]}[make.__name__]
    write_netx(make(), tmp_path / "b.net")
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()


def residual():
    s = Sequence(0, (2, 4, 4))
    s.fire("a", (2, 4, 4), Conv(s.weight(2, 2, 1, 1), (1, 1), NONE, (1, 1)))
    s.fire("b", (2, 4, 4), Conv(s.weight(2, 2, 1, 1), (1, 1), NONE, (1, 1)))
    s.connections.append(Connection("input", "b", (Scale(s.weight(2)),)))
    return s.netlist(3, Reshape((32,)), Linear(s.weight(3, 32)))


def max_pooled():
    s = Sequence(0, (2, 4, 4))
    s.fire("a", (2, 4, 4), Conv(s.weight(2, 2, 1, 1), (1, 1), NONE, (1, 1)))
    s.add(MaxPool("m", (2, 4, 4), (2, 2), (2, 2), NONE, 4))
    return s.netlist(3, Reshape((8,)), Linear(s.weight(3, 8)))


def unevenly_padded():
    s = Sequence(0, (2, 4, 4))
    s.fire("a", (2, 4, 4), Conv(s.weight(2, 2, 2, 2), (1, 1), ((1, 0), (1, 0)), (1, 1)))
    return s.netlist(3, Reshape((32,)), Linear(s.weight(3, 32)))


def an_identity():
    s = Sequence(0, (2, 4, 4))
    s.fire("a", (2, 4, 4), Scale(s.weight(2)))
    return s.netlist(3, Reshape((32,)), Linear(s.weight(3, 32)))


def one_dimensional():
    s = Sequence(0, (2, 8))
    s.fire("a", (2, 8), Conv(s.weight(2, 2, 3), (1,), ((1, 1),), (1,)))
    return s.netlist(3, Reshape((16,)), Linear(s.weight(3, 16)))


def two_readouts():
    netlist = frames()
    extra = Readout("more", (12,), np.zeros(12, np.int64), np.ones(12))
    return replace(
        netlist,
        populations=(*netlist.populations, extra),
        connections=(*netlist.connections, Connection("a", "more", ())),
    )


def overlapping_pool():
    s = Sequence(0, (2, 8, 8))
    s.fire("a", (4, 8, 8), Conv(s.weight(4, 2, 3, 3), (1, 1), EVEN, (1, 1)))
    conv = Conv(np.full((4, 4, 2, 2), 127), (1, 1), NONE, (1, 1))
    s.fire("b", (4, 6, 6), SumPool((2, 2), (1, 1), NONE), conv)
    return s.netlist(3, Reshape((144,)), Linear(s.weight(3, 144)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (residual, "b: fed by input, a; netx holds sequences only"),
        (max_pooled, "m: netx holds no max-pooling"),
        (unevenly_padded, r"input->a: padding \(\(1, 0\), \(1, 0\)\) is uneven"),
        (an_identity, "input->a: Scale found; netx holds Conv"),
        (one_dimensional, r"input->a: from \(2, 8\) to \(2, 8\)"),
        (two_readouts, "more: fed by a; netx holds sequences only"),
        (overlapping_pool, "a->b: multiplied out, its weights reach .* 508, beyond 8 bits"),
    ],
)
def test_what_netx_cannot_hold_is_named(make, message, tmp_path):
    with pytest.raises(UnsupportedError, match=message):
        write_netx(make(), tmp_path / "a.net")
    assert list(tmp_path.iterdir()) == []


@given(st.data())
def test_pooling_merges_into_a_convolution(data):
    """The product equals the two operators wherever it is not refused."""

    def pair(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(2))

    seed = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = (2, *pair(4, 9))
    window, before = pair(1, 3), pair(0, 1)
    pool = SumPool(window, pair(1, 3), tuple((p, p) for p in before))
    padding = tuple((p, p) for p in pair(0, 2))
    conv = Conv(seed.integers(-9, 9, (4, 1, *pair(1, 3))), pair(1, 2), padding, pair(1, 2), 2)
    try:
        expected_shape = conv.output_shape(pool.output_shape(shape))
        merged = merge_pool("x", pool, conv, shape)
    except (NetlistError, UnsupportedError):
        return
    x = seed.integers(0, 9, shape)
    assert merged.output_shape(shape) == expected_shape
    np.testing.assert_array_equal(apply_chain((merged,), x, shape), apply_chain((pool, conv), x, shape))


def test_a_pool_that_merges_is_not_refused():
    conv = Conv(np.ones((2, 2, 3, 3), np.int64), (1, 1), EVEN, (1, 1))
    assert merge_pool("x", SumPool((2, 2), (2, 2), NONE), conv, (2, 8, 8)).padding == ((2, 2), (2, 2))
    with pytest.raises(UnsupportedError, match="reaches into the map"):
        merge_pool("x", SumPool((2, 2), (2, 2), NONE), conv, (2, 9, 8))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda f: f["layer/1/weight"].write_direct(np.zeros(f["layer/1/weight"].shape, np.int32)),
            "not what its hash says",
        ),
        (lambda f: f["layer"].pop("2"), "layer/2: is missing"),
        (lambda f: f["layer/1/neuron"].pop("phi"), "phi: is missing"),
        (lambda f: f["layer/1/neuron/vThMant"].write_direct(np.zeros(4, np.int64)), "threshold has 0"),
        (lambda f: f["adafire"].attrs.modify("version", np.int64(2)), "version 2 found, expected 1"),
        (lambda f: f["layer/1/type"].write_direct(np.array([b"convT"], "S10")), "a layer of type 'convT'"),
        (lambda f: f["layer/1/stride"].write_direct(np.array([0, 1])), "stride"),
        (lambda f: f.pop("layer"), "layer: is missing"),
    ],
)
@pytest.mark.parametrize("make", [convolutional, pooled])
def test_a_damaged_file_is_refused(make, break_it, message, tmp_path):
    path = tmp_path / "a.net"
    write_netx(make(), path)
    with h5py.File(path, "r+") as file:
        break_it(file)
    with pytest.raises((FormatError, UnsupportedError), match=message):
        read_netx(path)


# ---- real lava-dl, in processes of their own -----------------------------------------------------


@pytest.mark.lava
def test_lava_dl_runs_our_files_exactly(tmp_path, make_payloads):
    """Four networks through lava-dl's Network, three samples back to back, every running sum equal."""
    cases = [convolutional, pooled, dense, frames]
    for make in cases:
        netlist = make(seed=1)
        write_netx(netlist, tmp_path / f"{make.__name__}.net")
        payloads = make_payloads(netlist)
        trace = golden.simulate(netlist, payloads)
        np.savez(tmp_path / f"{make.__name__}.npz", payloads=trace.spikes["input"], readout=trace.readout)
        assert trace.spikes["a"].any()
    saturating = golden.simulate(dense(seed=1), make_payloads(dense(seed=1)))
    assert saturating.saturations["a"] > 0
    found = lava_dl(
        """
        import json
        equal = {}
        for name in sys.argv[2:]:
            data = np.load(f"{sys.argv[1]}/{name}.npz")
            network = load_network(f"{sys.argv[1]}/{name}.net", reset_interval=len(data["payloads"]))
            equal[name] = bool(np.array_equal(run(network, data["payloads"], len(network)), data["readout"]))
        print(json.dumps(equal))
        """,
        tmp_path,
        *(make.__name__ for make in cases),
    )
    assert found == {make.__name__: True for make in cases}
