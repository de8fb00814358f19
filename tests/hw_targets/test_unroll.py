"""Burst unrolling: binary spikes, the same bursts and running sums, in the golden step and the simulator."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_targets.lava_runtime import run_on_lava
from hw_targets.unroll import gate_heights, unroll
from hw_targets.unroll.digits import digits, factors
from sim.golden import simulate
from sim.reference import simulate as simulate_in_torch
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    Input,
    InputError,
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
    weight_bits = draw(st.sampled_from([3, 4, 8]))
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


@settings(max_examples=60)
@given(networks())
def test_unrolled_bursts_equal_the_original_in_the_golden_step(case):
    netlist, payloads = case
    unrolled = unroll(netlist)
    assert all(p.payload_range == (0, 1) for p in (unrolled.netlist.input, *unrolled.netlist.spiking))
    trace = simulate(unrolled.netlist, unrolled.payloads(payloads))
    assert sum(trace.saturations.values()) == 0
    assert all(int(s.max(initial=0)) <= 1 for s in trace.spikes.values())
    assert_equal(simulate(netlist, payloads), unrolled.fold(trace))


@settings(max_examples=25)
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


def ones(features):
    return np.ones(features, np.int64)


def test_max_pooling_of_connections_that_overlap_is_refused():
    """Each brings one spike to an input of the window, both together bring two."""
    source = Input("input", (1, 2), 8, True, 1.0, np.zeros(1), np.ones(1))
    first, second = (AdaFire(n, (1, 2), phi, ones(1), ones(1), ones(1), np.ones(1)) for n, phi in (("a", 2), ("b", 5)))
    pool = MaxPool("pool", (1, 2), (2,), (2,), ((0, 0),), 9)
    netlist = Netlist(
        (source, first, second, pool, Readout("r", (1, 1), ones(1), np.ones(1))),
        (
            Connection("input", "a", ()),
            Connection("input", "b", ()),
            Connection("a", "pool", ()),
            Connection("b", "pool", ()),
            Connection("pool", "r", ()),
        ),
        3,
    )
    with pytest.raises(NetlistError, match="pool: adds up payloads before max-pooling"):
        unroll(netlist)


def test_bursts_that_nothing_is_connected_to_are_unrolled_too():
    """A population of its bias alone bursts, sends to nobody, and has its windows all the same."""
    source = Input("input", (3,), 4, True, 1.0, np.zeros(3), np.ones(3))
    alone = AdaFire("alone", (2,), 4, np.array([3, 5]), np.array([9, -2]), np.array([0, 40]), np.ones(2))
    readout = Readout("r", (2,), np.array([7, -7]), np.ones(2))
    netlist = Netlist((source, alone, readout), (), timesteps=3)
    payloads = np.array([[-7, 0, 7], [1, 2, 3]], np.int8)
    unrolled = unroll(netlist)
    assert unrolled.period == 4
    expected = simulate(netlist, payloads)
    assert expected.spikes["alone"].max() == 4
    assert_equal(expected, unrolled.fold(simulate(unrolled.netlist, unrolled.payloads(payloads))))


def test_weights_of_two_bits_are_too_narrow_for_gates(small_resnet):
    narrow = tuple(
        replace(
            c, operators=tuple(replace(o, weight=np.sign(o.weight)) if hasattr(o, "weight") else o for o in c.operators)
        )
        for c in small_resnet.connections
    )
    with pytest.raises(NetlistError, match="weights of 2 bits carry no gates"):
        unroll(replace(small_resnet, connections=narrow, weight_bits=2))


def test_payloads_that_the_original_does_not_take_are_refused(small_resnet):
    with pytest.raises(InputError, match="payloads of shape"):
        unroll(small_resnet).payloads(np.zeros((2, 3), np.int8))


@given(st.lists(st.integers(-(2**23), 2**23), min_size=1, max_size=5), st.integers(3, 16))
def test_digits_and_their_base_fit_a_weight(values, weight_bits):
    base, found = digits(np.array(values), weight_bits)
    low, high = -(2 ** (weight_bits - 1)), 2 ** (weight_bits - 1) - 1
    assert base <= high
    assert all(low <= int(d.min()) <= int(d.max()) <= high for d in found)
    np.testing.assert_array_equal(sum(d * base**place for place, d in enumerate(found)), values)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=8), st.integers(3, 16))
def test_factors_are_powers_of_two_that_fit_a_weight(exponents, weight_bits):
    values = np.array([(-2) ** e for e in exponents])
    found = factors(values, weight_bits)
    for factor in found:
        assert set(np.abs(factor).tolist()) <= {2**e for e in range(weight_bits - 1)}
    np.testing.assert_array_equal(np.prod(found, axis=0), values)


@settings(max_examples=40)
@given(networks())
def test_no_potential_goes_further_than_a_gate_reaches(case):
    """A membrane that just holds every reach, and the parameters, never clips."""
    netlist, payloads = case
    neurons = [p for p in netlist.populations if isinstance(p, AdaFire)]
    parameters = [int(np.abs(v).max()) for p in neurons for v in (p.threshold, p.bias, p.initial)]
    most = max(*parameters, *(gate.reach for gate in gate_heights(netlist).values()))
    unrolled = unroll(replace(netlist, membrane_bits=max(8, most.bit_length() + 1)))
    trace = simulate(unrolled.netlist, unrolled.payloads(payloads))
    assert sum(trace.saturations.values()) == 0


def test_a_lower_gate_would_let_a_spike_through():
    """Excitation first, inhibition in the same timestep: without one unit of the gate the neuron fires early."""
    source = Input("input", (2,), 1, False, 1.0, np.zeros(2), np.ones(2))
    early = AdaFire("early", (2,), 2, ones(2), 0 * ones(2), 0 * ones(2), np.ones(2))
    late = AdaFire("late", (1,), 1, ones(1), 0 * ones(1), 0 * ones(1), np.ones(1))
    netlist = Netlist(
        (source, early, late, Readout("r", (1,), ones(1), np.ones(1))),
        (
            Connection("input", "early", (Linear(np.array([[2, 0], [0, 2]])),)),
            Connection("input", "late", (Linear(np.array([[0, -4]])),)),
            Connection("early", "late", (Linear(np.array([[3, 0]])),)),
            Connection("late", "r", ()),
        ),
        timesteps=1,
    )
    payloads = np.array([[1, 0]], np.uint8)
    unrolled = unroll(netlist)
    trace = simulate(unrolled.netlist, unrolled.payloads(payloads))
    assert_equal(simulate(netlist, payloads), unrolled.fold(trace))
    height = gate_heights(netlist)["late"].height
    # Both spikes of the burst bring 3: the first arrives before the window, at sub-step 0, and must not fire.
    assert unrolled.windows["late"] == range(1, 2)
    assert unrolled.netlist["late"].initial.tolist() == [-height]
    ungated = replace(unrolled.netlist["late"], initial=np.array([-2]))
    populations = tuple(ungated if p.name == "late" else p for p in unrolled.netlist.populations)
    leaky = simulate(replace(unrolled.netlist, populations=populations), unrolled.payloads(payloads))
    with pytest.raises(NetlistError, match="outside the population's windows"):
        unrolled.fold(leaky)


def test_a_run_that_was_not_gated_is_noticed(small_resnet):
    payloads = np.random.default_rng(1).integers(-127, 128, (1, *small_resnet.input.shape)).astype(np.int8)
    unrolled = unroll(small_resnet)
    late = np.roll(unrolled.payloads(payloads), 4, axis=0)
    with pytest.raises(NetlistError, match="outside the population's windows"):
        unrolled.fold(simulate(unrolled.netlist, late))
