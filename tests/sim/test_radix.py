"""Radix bursts: the reference simulator, one product of whole numbers, against the golden window, digit by digit."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_netlists import ARCHITECTURES, PICTURES, radix_netlist

from sim import compile_early_exit, compile_netlist, golden, simulate, stream
from sim.codes import RadixCode
from toolchain.netlist import (
    AdaFire,
    InputError,
    MaxPool,
    NetlistError,
    Radix,
    SumPool,
    apply_chain,
    membrane_bound,
    per_channel,
)

FORMS = [(2, 1), (2, 3), (2, 8), (3, 4), (4, 3), (16, 2), (256, 1)]


def assert_equal(trace, expected):
    assert list(trace.populations) == list(expected.populations)
    for name, values in expected.populations.items():
        assert trace.populations[name].dtype == values.dtype
        np.testing.assert_array_equal(trace.populations[name], values, err_msg=name)
    assert trace.saturations == expected.saturations


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("architecture", PICTURES)
def test_equals_golden(architecture, seed, make_payloads):
    netlist = radix_netlist(architecture, seed)
    payloads = make_payloads(netlist, 5, seed)
    trace = simulate(netlist, payloads)
    assert_equal(trace, golden.simulate(netlist, payloads))
    for population in netlist.spiking:
        assert trace.spikes[population.name].any(), f"{population.name} never fires: the test shows nothing"


@pytest.mark.parametrize(("base", "digits"), FORMS)
@pytest.mark.parametrize("architecture", ["residual", "maxpool", "linear", "saturating"])
def test_equals_golden_in_every_base(architecture, base, digits, make_payloads):
    netlist = radix_netlist(architecture, base=base, digits=digits)
    payloads = make_payloads(netlist, 4)
    trace = simulate(netlist, payloads)
    assert_equal(trace, golden.simulate(netlist, payloads))
    assert max(trace.spikes[p.name].max() for p in netlist.spiking) < base


@pytest.mark.parametrize("architecture", ["residual", "upsampling"])
def test_plain_torch_equals_golden(architecture, make_payloads, monkeypatch):
    monkeypatch.setattr("sim.compilation.has_loops", lambda population, device: False)
    netlist = radix_netlist(architecture)
    payloads = make_payloads(netlist, 3)
    assert_equal(simulate(netlist, payloads), golden.simulate(netlist, payloads))


@pytest.mark.parametrize("chunk", [1, 3, None])
def test_chunks_change_nothing(chunk, make_payloads):
    netlist = radix_netlist("shortcut")
    payloads = make_payloads(netlist, 7)
    assert_equal(simulate(netlist, payloads, chunk=chunk), golden.simulate(netlist, payloads))


def test_potentials_that_are_clipped_are_found_and_counted(make_payloads):
    """Narrow membranes: some windows saturate on the way, some at the end, and are run digit by digit."""
    seen = set()
    wide = radix_netlist("saturating", digits=5)
    # Numbers that an 8-bit membrane holds.
    small = [
        dataclasses.replace(p, threshold=p.threshold % 20 + 1, bias=p.bias % 9 - 5, initial=p.initial % 9)
        for p in wide.populations
        if isinstance(p, AdaFire)
    ]
    small = (wide.input, *small, *wide.readouts)
    for bits in range(8, 15):
        netlist = dataclasses.replace(wide, populations=small, membrane_bits=bits)
        payloads = make_payloads(netlist, 4)
        expected = golden.simulate(netlist, payloads)
        assert_equal(simulate(netlist, payloads), expected)
        code = compile_netlist(netlist).code
        assert isinstance(code, RadixCode)
        seen.add((bool(code._clips_unseen), sum(expected.saturations.values()) > 0))
    assert {(True, True), (False, True)} <= seen


def test_a_number_is_the_rounded_current(make_payloads):
    """By another road than the executors': numbers read from the digits, currents of numbers, one division."""
    netlist = radix_netlist("residual", base=3, digits=3)
    payloads = make_payloads(netlist, 3)
    trace = golden.simulate(netlist, payloads)
    places = np.array([9, 3, 1])

    def number(name):
        return np.tensordot(places, trace.spikes[name].astype(np.int64), 1)

    np.testing.assert_array_equal(number("input"), payloads)
    for population in netlist.spiking:
        current = sum(
            apply_chain(c.operators, number(c.source), netlist[c.source].shape) for c in netlist.inputs(population.name)
        )
        total = current + per_channel(population.bias + population.initial, population.shape)
        expected = np.clip(total // per_channel(population.threshold, population.shape), 0, 26)
        np.testing.assert_array_equal(number(population.name), expected)


def test_max_pooling_emits_the_digits_of_the_greatest_number(make_payloads):
    netlist = radix_netlist("maxpool", base=4, digits=3)
    trace = golden.simulate(netlist, make_payloads(netlist, 3))
    for population in netlist.populations:
        if isinstance(population, MaxPool):
            (connection,) = netlist.inputs(population.name)
            numbers = np.tensordot([16, 4, 1], trace.spikes[connection.source].astype(np.int64), 1)
            expected = golden.max_over_windows(numbers, population)
            got = np.tensordot([16, 4, 1], trace.spikes[population.name].astype(np.int64), 1)
            np.testing.assert_array_equal(got, expected)


@given(st.integers(2, 16), st.data())
def test_digits_spell_their_number(base, data):
    digits = data.draw(st.integers(1, max(k for k in range(1, 9) if base**k <= 256)))
    radix = Radix(base, digits)
    numbers = np.arange(radix.greatest + 1)
    spelled = radix.spell(numbers)
    assert spelled.max() == base - 1
    np.testing.assert_array_equal(radix.places @ spelled, numbers)
    np.testing.assert_array_equal(radix.digit_sums, spelled.sum(0))
    np.testing.assert_array_equal(radix.digit_counts, (spelled > 0).sum(0))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FORMS), st.sampled_from(PICTURES))
def test_bounds_hold(seed, form, architecture):
    base, digits = form
    netlist = radix_netlist(architecture, seed, base=base, digits=digits)
    low, high = netlist.input.payload_range
    draw = np.random.default_rng(seed).integers(low, high + 1, (1, *netlist.input.shape))
    trace = golden.simulate(netlist, draw.astype(netlist.input.payload_dtype))
    for readout in netlist.readouts:
        bound = membrane_bound(netlist, readout.name)
        values = trace.readouts[readout.name]
        assert (values >= bound.low).all()
        assert (values <= bound.high).all()


def test_activity_counts_digits(make_payloads):
    netlist = radix_netlist("maxpool", base=3, digits=4)
    payloads = make_payloads(netlist, 4)
    expected = golden.simulate(netlist, payloads)
    first, second = stream(netlist, np.split(payloads, [3]), activity=True)
    activity = first.activity + second.activity
    assert activity.steps == 4 * netlist.timesteps
    for name, values in expected.spikes.items():
        np.testing.assert_array_equal(activity.payloads[name], np.abs(values.astype(np.int64)).sum((0, 1)))
        np.testing.assert_array_equal(activity.events[name], (values != 0).sum((0, 1)))


def test_what_has_no_meaning_is_refused(make_payloads):
    netlist = radix_netlist("residual")
    payloads = make_payloads(netlist, 1)
    for run in (simulate, golden.simulate):
        with pytest.raises(InputError, match="all its digits"):
            run(netlist, payloads, timesteps=2)
    with pytest.raises(InputError, match="end of a window"):
        compile_early_exit(netlist, alpha=(0.5,) * netlist.timesteps)


def test_what_needs_time_to_add_up_is_refused_by_name():
    netlist = radix_netlist("linear")
    late = tuple(dataclasses.replace(c, delay=1) if c.target == "b" else c for c in netlist.connections)
    with pytest.raises(NetlistError, match="a delay found"):
        dataclasses.replace(netlist, connections=late)
    with pytest.raises(NetlistError, match="alpha found"):
        dataclasses.replace(netlist, alpha=(0.5,) * netlist.timesteps)
    frames = (dataclasses.replace(netlist.input, coding="frames"), *netlist.populations[1:])
    with pytest.raises(NetlistError, match="frames found"):
        dataclasses.replace(netlist, populations=frames)
    leaky = ARCHITECTURES["leaky"](0, 4, 1)
    with pytest.raises(NetlistError, match="leaks holds no digits"):
        dataclasses.replace(leaky, spike_code="radix")
    longer = tuple(dataclasses.replace(p, phi=3) if p.name == "a" else p for p in netlist.populations)
    with pytest.raises(NetlistError, match="digits of several bases"):
        dataclasses.replace(netlist, populations=longer)
    with pytest.raises(NetlistError, match="expected numbers up to 255; use at most 8 digits"):
        dataclasses.replace(netlist, timesteps=9)
    pooled = radix_netlist("maxpool")
    window = SumPool((1, 1), (1, 1), ((0, 0), (0, 0)))
    added = tuple(dataclasses.replace(c, operators=(window,)) if c.target == "m" else c for c in pooled.connections)
    with pytest.raises(NetlistError, match="may carry"):
        dataclasses.replace(pooled, connections=added)


def test_threads_change_nothing(make_payloads):
    netlist = radix_netlist("residual")
    payloads = make_payloads(netlist, 4)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_equal(simulate(netlist, payloads), golden.simulate(netlist, payloads))
    finally:
        torch.set_num_threads(before)
