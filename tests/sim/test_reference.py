"""The reference simulator against the golden step: equal on every payload, whatever the architecture."""

import dataclasses

import numpy as np
import pytest
import random_netlists
import torch
from hypothesis import given
from hypothesis import strategies as st

from sim import compile_early_exit, compile_layer, compile_netlist, events, golden, simulate, stream, vnni
from sim.lines import Lines
from toolchain.netlist import AdaFire, InputError, MaxPool, NetlistError


def assert_equal(trace, expected):
    assert trace.netlist_hash == expected.netlist_hash
    assert list(trace.spikes) == list(expected.spikes)
    for name, values in expected.populations.items():
        got = trace.populations[name]
        assert got.dtype == values.dtype
        np.testing.assert_array_equal(got, values, err_msg=name)
    assert trace.saturations == expected.saturations


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_golden(architecture, seed, make_netlist, make_payloads):
    netlist = make_netlist(architecture, seed)
    payloads = make_payloads(netlist, 5, seed)
    trace = simulate(netlist, payloads)
    assert_equal(trace, golden.simulate(netlist, payloads))
    assert trace.backend == "reference"
    for population in netlist.spiking:
        assert trace.spikes[population.name].any(), f"{population.name} never fires: the test shows nothing"


@pytest.mark.parametrize("phi", [1, 2, 15, 255])
@pytest.mark.parametrize("architecture", ["residual", "maxpool"])
def test_equals_golden_for_every_phi(architecture, phi, make_netlist, make_payloads):
    netlist = make_netlist(architecture, phi=phi)
    payloads = make_payloads(netlist, 3)
    assert_equal(simulate(netlist, payloads), golden.simulate(netlist, payloads))


@pytest.mark.parametrize("timesteps", [1, 2, 4, 12, 16])
@pytest.mark.parametrize("architecture", ["shortcut", "frames", "saturating"])
def test_equals_golden_for_every_length(architecture, timesteps, make_netlist, make_payloads):
    netlist = make_netlist(architecture, timesteps=timesteps)
    payloads = make_payloads(netlist, 2)
    assert_equal(simulate(netlist, payloads), golden.simulate(netlist, payloads))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, None])
def test_chunks_change_nothing(architecture, chunk, make_netlist, make_payloads):
    netlist = make_netlist(architecture)
    payloads = make_payloads(netlist, 7)
    assert_equal(simulate(netlist, payloads, chunk=chunk), golden.simulate(netlist, payloads))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads, make_netlist, make_payloads):
    netlist = make_netlist("residual")
    payloads = make_payloads(netlist, 4)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_equal(simulate(netlist, payloads), golden.simulate(netlist, payloads))
    finally:
        torch.set_num_threads(before)


def test_no_samples_give_an_empty_trace(architecture, make_netlist, make_payloads):
    netlist = make_netlist(architecture)
    trace = simulate(netlist, make_payloads(netlist, 0))
    assert trace.samples == 0
    assert trace.timesteps == netlist.timesteps


def test_a_shorter_run_is_a_prefix(make_netlist, make_payloads):
    netlist = make_netlist("residual", timesteps=6)
    payloads = make_payloads(netlist)
    long, short = simulate(netlist, payloads), simulate(netlist, payloads, timesteps=2)
    for name, values in short.populations.items():
        np.testing.assert_array_equal(values, long.populations[name][:2])


def test_saturation_is_counted(make_netlist, make_payloads):
    netlist = make_netlist("saturating")
    trace = simulate(netlist, make_payloads(netlist, 4))
    assert sum(trace.saturations.values()) > 0


def test_a_stream_is_the_batch_in_pieces(architecture, make_netlist, make_payloads):
    netlist = make_netlist(architecture)
    payloads = make_payloads(netlist, 7)
    samples_axis = 1 if netlist.input.coding == "frames" else 0
    expected = golden.simulate(netlist, payloads)
    pieces = np.split(payloads, [2, 3], axis=samples_axis)
    recorded = netlist.spiking[0].name
    batches = list(stream(netlist, pieces, record=[recorded], activity=True))
    np.testing.assert_array_equal(np.concatenate([b.readout for b in batches], axis=1), expected.readout)
    spikes = np.concatenate([b.spikes[recorded] for b in batches], axis=1)
    np.testing.assert_array_equal(spikes, expected.spikes[recorded])
    assert set(batches[0].spikes) == {recorded}


def test_activity_is_the_sum_over_the_trace(architecture, make_netlist, make_payloads):
    netlist = make_netlist(architecture)
    payloads = make_payloads(netlist, 4)
    samples_axis = 1 if netlist.input.coding == "frames" else 0
    expected = golden.simulate(netlist, payloads)
    first, second = stream(netlist, np.split(payloads, [3], axis=samples_axis), activity=True)
    activity = first.activity + second.activity
    assert activity.samples == 4
    assert activity.steps == 4 * netlist.timesteps
    assert set(activity.payloads) == set(expected.spikes)
    for name, values in expected.spikes.items():
        np.testing.assert_array_equal(activity.payloads[name], np.abs(values.astype(np.int64)).sum((0, 1)))
        np.testing.assert_array_equal(activity.events[name], (values != 0).sum((0, 1)))
    assert activity.saturations == expected.saturations


def test_a_layer_runs_alone_and_resumes(architecture, make_netlist, make_payloads):
    netlist = make_netlist(architecture, timesteps=5)
    trace = golden.simulate(netlist, make_payloads(netlist))
    sources = {p.name: p for p in netlist.populations}
    spikes = {name: torch.from_numpy(values) for name, values in trace.spikes.items()}
    for population in netlist.populations[1:]:
        layer = compile_layer(population, netlist.inputs(population.name), sources, netlist.membrane_limit, 5)
        on_lines = {name: Lines(5, spikes).read(name) for name in layer.sources}
        whole = layer.run(on_lines, keep_state=True)
        np.testing.assert_array_equal(whole.output.numpy(), trace.populations[population.name])
        head = layer.run({n: s[:2] for n, s in on_lines.items()}, timesteps=2, keep_state=True)
        tail = layer.run({n: s[2:] for n, s in on_lines.items()}, timesteps=3, state=head.state, keep_state=True)
        np.testing.assert_array_equal(torch.cat([head.output, tail.output]).numpy(), whole.output.numpy())
        np.testing.assert_array_equal(tail.state.numpy(), whole.state.numpy())


def test_a_held_payload_equals_a_repeated_one(make_netlist, make_payloads):
    netlist = make_netlist("residual")
    first = netlist.spiking[0]
    sources = {p.name: p for p in netlist.populations}
    layer = compile_layer(first, netlist.inputs(first.name), sources, netlist.membrane_limit, 5)
    held = torch.from_numpy(make_payloads(netlist))[None]
    repeated = held.expand(5, *held.shape[1:])
    assert torch.equal(layer.run({"input": held}).output, layer.run({"input": repeated}).output)


def test_max_pooling_sums_to_the_maximum_of_the_sums(make_netlist, make_payloads):
    netlist = make_netlist("maxpool")
    trace = simulate(netlist, make_payloads(netlist))
    for population in netlist.populations:
        if isinstance(population, MaxPool):
            (connection,) = netlist.inputs(population.name)
            sums = trace.spikes[connection.source].astype(np.int64).sum(0)
            expected = golden.max_over_windows(sums, population)
            np.testing.assert_array_equal(trace.spikes[population.name].astype(np.int64).sum(0), expected)


@given(
    potential=st.integers(-(2**31), 2**31),
    threshold=st.integers(1, 2**24),
    phi=st.integers(1, 255),
)
def test_golden_fire_is_the_closed_form(potential, threshold, phi):
    burst, left = golden.fire(np.array([potential]), np.array([threshold]), phi)
    by_counting = sum(potential >= k * threshold for k in range(1, phi + 1))
    assert burst[0] == by_counting
    assert left[0] == potential - by_counting * threshold


@given(
    activation=st.integers(-50, 400),
    threshold=st.integers(1, 40),
    phi=st.integers(1, 8),
    timesteps=st.integers(1, 12),
)
def test_constant_current_gives_clip_floor(activation, threshold, phi, timesteps):
    """Eq. 12: with constant current the spikes of T steps are clip(floor((T I + u0) / theta), 0, phi T)."""
    potential, start, total = np.array([threshold // 2]), threshold // 2, 0
    for _ in range(timesteps):
        burst, potential = golden.fire(potential + activation, np.array([threshold]), phi)
        total += int(burst[0])
    if 0 <= activation <= phi * threshold - threshold:
        assert total == min(max((timesteps * activation + start) // threshold, 0), phi * timesteps)


@pytest.mark.parametrize(
    ("payloads", "words"),
    [
        (np.zeros((2, 3, 8, 9), np.int8), "shape"),
        (np.zeros((3, 8, 8), np.int8), "shape"),
        (np.zeros((2, 3, 8, 8), np.float32), "Input.encode"),
        (np.full((2, 3, 8, 8), -128, np.int8), "-127 .. 127"),
        (np.full((2, 3, 8, 8), 300), "-127 .. 127"),
    ],
)
def test_wrong_payloads_are_refused(payloads, words, make_netlist):
    with pytest.raises(InputError, match=words):
        simulate(make_netlist("residual"), payloads)


def test_too_few_frames_are_refused(make_netlist, make_payloads):
    netlist = make_netlist("frames")
    with pytest.raises(InputError, match="frames found"):
        simulate(netlist, make_payloads(netlist)[:3])


def test_unknown_names_and_options_are_refused(make_netlist, make_payloads):
    netlist = make_netlist("residual")
    with pytest.raises(InputError, match="record"):
        next(stream(netlist, [make_payloads(netlist)], record=["output"]))
    for options in ({"timesteps": 0}, {"chunk": 0}):
        with pytest.raises(InputError, match="at least 1"):
            compile_netlist(netlist, **options)


def test_sums_beyond_every_float_are_refused(make_netlist):
    netlist = make_netlist("wide")
    population = next(p for p in netlist.populations if isinstance(p, AdaFire))
    (connection,) = netlist.inputs(population.name)
    conv = connection.operators[0]
    huge = dataclasses.replace(conv, weight=np.full(conv.weight.shape, 2**50))
    with pytest.raises(NetlistError, match="2\\*\\*53"):
        compile_layer(
            population,
            [dataclasses.replace(connection, operators=(huge,))],
            {"input": netlist.input},
            netlist.membrane_limit,
            4,
        )


@pytest.mark.parametrize("timesteps", [4, 6, 8, 10])
def test_events_of_a_whole_network_equal_golden(timesteps, make_payloads, monkeypatch):
    """Convolutions over what fires, whatever dense kernels would take, in one run and in blocks that go on."""
    b = random_netlists.start(3, 4, (3, 8, 8))
    b.fire("rows", b.conv(16)).fire("a", b.conv(32)).fire("b", b.pool(2), b.conv(64)).fire("c", b.conv(32))
    b.fire("tiny", b.pool(2), b.conv(32))  # 2x2: dense kernels run it as a matrix
    netlist = b.read("output", b.linear(4)).netlist(timesteps)
    payloads = make_payloads(netlist, 3)
    monkeypatch.setattr(events, "COSTS", dict.fromkeys(events.COSTS, (1e-9, 0)))
    ran = []
    fire = events.EventConv.fire
    monkeypatch.setattr(events.EventConv, "fire", lambda *given: ran.append(fire(*given)) or ran[-1])
    expected = golden.simulate(netlist, payloads)
    assert_equal(simulate(netlist, payloads), expected)
    found = compile_early_exit(netlist, alpha=(1.0,) * timesteps).run(payloads)
    np.testing.assert_array_equal(found.readout, expected.readouts["output"][-1])
    assert not vnni.has_instruction() or (ran and None not in ran)
