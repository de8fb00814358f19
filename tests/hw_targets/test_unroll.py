"""Burst unrolling: binary spikes, the same bursts and running sums, in the golden step and the simulator."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_targets.lava_runtime import run_on_lava
from hw_targets.unroll import unroll
from sim.golden import simulate
from sim.reference import simulate as simulate_in_torch
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    Input,
    Linear,
    MaxPool,
    Netlist,
    NetlistError,
    Readout,
    Reshape,
    Scale,
    SumPool,
    TargetError,
)


@st.composite
def networks(draw):
    """Small networks with a skip connection, pooling and different bursts per layer."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weight_bits = draw(st.sampled_from([4, 8]))
    most = 2 ** (weight_bits - 1) - 1
    channels, side = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    flat = draw(st.booleans())
    shape = (channels * side,) if flat else (channels, side, side)
    bits, signed = draw(st.sampled_from([(8, True), (8, False), (2, True), (3, False), (1, False)]))
    coding = draw(st.sampled_from(["direct", "frames"]))

    def weights(*s):
        return rng.integers(-most, most + 1, s)

    def layer(name, s, phi):
        theta = rng.integers(1, 60, s[0])
        bias = rng.integers(-40, 41, s if draw(st.booleans()) else s[:1])
        start = rng.integers(-30, 60, s if draw(st.booleans()) else s[:1])
        return AdaFire(name, s, phi, theta, bias, start, np.ones(s[0]))

    hidden = (draw(st.integers(1, 4)), *shape[1:])
    phis = [draw(st.integers(1, 5)) for _ in range(3)]
    populations = [Input("input", shape, bits, signed, 0.1, np.zeros(shape[0]), np.ones(shape[0]), coding)]

    def join(a, b):
        if flat:
            return (Linear(weights(b[0], a[0])),)
        return (Conv(weights(b[0], a[0], 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),)

    connections = [Connection("input", "a", join(shape, hidden))]
    populations.append(layer("a", hidden, phis[0]))
    populations.append(layer("b", hidden, phis[1]))
    connections.append(Connection("a", "b", join(hidden, hidden)))
    populations.append(layer("c", hidden, phis[2]))
    connections += [Connection("b", "c", join(hidden, hidden)), Connection("a", "c", (Scale(weights(hidden[0])),))]
    if draw(st.booleans()):
        connections.append(Connection("input", "b", join(shape, hidden)))
    last, size = "c", hidden
    if not flat and draw(st.booleans()):
        pool = MaxPool("pool", hidden, (2, 2), (1, 1), ((0, 1), (0, 1)), phis[2])
        populations.append(pool)
        connections.append(Connection("c", "pool", ()))
        last, size = "pool", pool.shape
    flatten = () if flat else (Reshape((int(np.prod(size)),)),)
    populations.append(Readout("readout", (3,), rng.integers(-999, 999, 3), np.ones(3)))
    connections.append(Connection(last, "readout", (*flatten, Linear(weights(3, int(np.prod(size)))))))
    netlist = Netlist(tuple(populations), tuple(connections), draw(st.integers(1, 4)), weight_bits)
    low, high = netlist.input.payload_range
    lead = (netlist.timesteps, 2) if coding == "frames" else (2,)
    return netlist, rng.integers(low, high + 1, (*lead, *shape)).astype(netlist.input.payload_dtype)


def assert_equal(expected, got):
    assert got.netlist_hash == expected.netlist_hash
    assert got.spikes.keys() == expected.spikes.keys()
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(got.spikes[name], spikes, err_msg=name)
    for name, total in expected.readouts.items():
        np.testing.assert_array_equal(got.readouts[name], total, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_unrolled_bursts_equal_the_original_in_the_golden_step(case):
    netlist, payloads = case
    unrolled = unroll(netlist)
    assert all(p.payload_range == (0, 1) for p in (unrolled.netlist.input, *unrolled.netlist.spiking))
    trace = simulate(unrolled.netlist, unrolled.payloads(payloads))
    assert sum(trace.saturations.values()) == 0
    assert all(int(s.max(initial=0)) <= 1 for s in trace.spikes.values())
    assert_equal(simulate(netlist, payloads), unrolled.fold(trace))


@settings(max_examples=25, deadline=None)
@given(networks())
def test_unrolled_bursts_equal_the_original_in_the_simulator(case):
    netlist, payloads = case
    unrolled = unroll(netlist)
    trace = simulate_in_torch(unrolled.netlist, unrolled.payloads(payloads))
    assert_equal(simulate(netlist, payloads), unrolled.fold(trace))


@pytest.mark.lava
def test_unrolled_bursts_equal_the_original_in_lava(small_resnet):
    payloads = np.random.default_rng(0).integers(-127, 128, (2, *small_resnet.input.shape)).astype(np.int8)
    unrolled = unroll(small_resnet)
    trace = run_on_lava(unrolled.netlist, unrolled.payloads(payloads))
    assert_equal(simulate(small_resnet, payloads), unrolled.fold(trace))


def test_without_bursts_only_the_input_changes(small_resnet):
    single = replace(
        small_resnet,
        populations=tuple(replace(p, phi=1) if isinstance(p, AdaFire) else p for p in small_resnet.populations),
    )
    unrolled = unroll(single)
    assert (unrolled.period, unrolled.gates) == (1, {})
    assert unrolled.netlist.timesteps == single.timesteps
    assert unrolled.netlist.input.coding == "direct"
    assert unrolled.netlist.populations[1:] == single.populations[1:]


def test_a_membrane_without_room_for_the_gates_is_refused(small_resnet):
    with pytest.raises(TargetError, match=r"a membrane of 12 bits holds \+-2047; use fewer weight bits") as caught:
        unroll(small_resnet, membrane_bits={"b": 12})
    assert caught.value.where == "b"


def test_max_pooling_of_sums_is_refused(small_resnet):
    pool = SumPool((2, 2), (2, 2), ((0, 0), (0, 0)))
    first = small_resnet.populations[1]
    window = ((2, 2), (2, 2), ((0, 0), (0, 0)))
    populations = (*small_resnet.populations[:2], MaxPool("pool", pool.output_shape(first.shape), *window, 16))
    size = int(np.prod(populations[-1].shape))
    netlist = Netlist(
        (*populations, Readout("readout", (2,), np.zeros(2, np.int64), np.ones(2))),
        (
            *small_resnet.inputs(first.name),
            Connection(first.name, "pool", (pool,)),
            Connection("pool", "readout", (Reshape((size,)), Linear(np.ones((2, size), np.int64)))),
        ),
        2,
    )
    with pytest.raises(NetlistError, match="adds up payloads before max-pooling"):
        unroll(netlist)


def test_a_run_that_was_not_gated_is_noticed(small_resnet):
    payloads = np.random.default_rng(1).integers(-127, 128, (1, *small_resnet.input.shape)).astype(np.int8)
    unrolled = unroll(small_resnet)
    late = np.roll(unrolled.payloads(payloads), 4, axis=0)
    with pytest.raises(NetlistError, match="outside the population's windows"):
        unrolled.fold(simulate(unrolled.netlist, late))
