"""The first divergence explained: each fault is planted in an executor and must be named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from random_netlists import radix_netlist
from rich.console import Console

import sim.golden as golden
from toolchain.equivalence import compare, diagnose, join
from toolchain.netlist import AdaFire, Netlist, Trace, Weighted


def data(netlist: Netlist, samples: int = 3, seed: int = 1) -> np.ndarray:
    source = netlist.input
    low, high = source.payload_range
    lead = (netlist.timesteps, samples) if source.coding == "frames" else (samples,)
    return np.random.default_rng(seed).integers(low, high + 1, (*lead, *source.shape))


def altered(netlist: Netlist, *, weight=lambda w: w, population=lambda p: p, **fields) -> Netlist:
    connections = tuple(
        replace(
            c,
            operators=tuple(replace(o, weight=weight(o.weight)) if isinstance(o, Weighted) else o for o in c.operators),
        )
        for c in netlist.connections
    )
    return replace(netlist, connections=connections, populations=tuple(map(population, netlist.populations)), **fields)


def run(netlist: Netlist, payloads: np.ndarray, like: Netlist) -> Trace:
    return replace(golden.simulate(netlist, payloads), netlist_hash=like.content_hash, backend="lava")


@pytest.mark.parametrize("target", ["b", "output"])
def test_digits_are_explained_as_numbers(target):
    """A threshold or a sum that is off shows in the first number that it makes, not in the first digit that differs."""
    netlist = radix_netlist("residual", digits=4)
    payloads = data(netlist)
    expected = golden.simulate(netlist, payloads)
    assert diagnose(netlist, expected, replace(expected, backend="lava")).equivalent
    off = altered(
        netlist, population=lambda p: replace(p, bias=p.bias + 40 * np.abs(p.bias).max()) if p.name == target else p
    )
    report = diagnose(netlist, expected, run(off, payloads, netlist))
    first = report.first_divergence
    assert first.population == target
    assert first.timestep == netlist.timesteps - 1
    assert report.explanation is not None
    assert report.explanation.divergence == first
    assert first.expected == (
        netlist.radix.read(expected.spikes["b"])[first.sample, *first.index]
        if target == "b"
        else expected.readout[-1, first.sample, *first.index]
    )
    # Digits that carry: the same number, and yet not what should have been sent.
    spikes = {**expected.spikes, "b": expected.spikes["b"].copy()}
    place = tuple(np.argwhere((spikes["b"][-2] == 1) & (spikes["b"][-1] == 0))[0])
    spikes["b"][(-2, *place)], spikes["b"][(-1, *place)] = 0, 2
    report = diagnose(netlist, expected, replace(expected, backend="lava", spikes=spikes))
    assert not report.equivalent
    assert report.explanation is None


def step_by_step(netlist: Netlist, payloads: np.ndarray, *, keep_state=False, delayed: str | None = None) -> Trace:
    """Samples one after the other; the state may be kept, and one population's payloads may leave late."""
    state = golden.initial_state(netlist, 1)
    spikes, sums = {}, {}
    held = None
    for sample in payloads:
        if not keep_state:
            state = golden.initial_state(netlist, 1)
        for _ in range(netlist.timesteps):
            emitted = golden.step(netlist, state, sample[np.newaxis])
            if delayed:
                now, held = emitted[delayed], emitted[delayed] * 0 if held is None else held
                emitted[delayed], held = held, now
            for name, values in emitted.items():
                spikes.setdefault(name, []).append(values[0])
            for name, values in state.readout.items():
                sums.setdefault(name, []).append(values[0].copy())

    def shaped(values):
        stacked = np.stack(values)
        return stacked.reshape(len(payloads), -1, *stacked.shape[1:]).swapaxes(0, 1)

    return Trace(
        netlist.content_hash,
        "lava",
        {n: shaped(v).astype(np.int8 if n == "input" else np.uint8) for n, v in spikes.items()},
        {n: shaped(v) for n, v in sums.items()},
    )


def named(netlist: Netlist, payloads: np.ndarray, actual: Trace, cause: str):
    expected = golden.simulate(netlist, payloads)
    report = diagnose(netlist, expected, actual)
    explanation = report.explanation
    assert not report.equivalent
    assert report.to_json()["explanation"] == explanation.to_json()
    assert cause in report.first_divergence.cause
    assert "reproduces all" in report.first_divergence.cause
    assert report.first_divergence == replace(
        compare(expected, actual).first_divergence, cause=explanation.divergence.cause
    )
    return explanation


def fire_above(potential, threshold, phi):
    n = np.clip(np.ceil(potential / threshold) - 1, 0, phi).astype(np.int64)
    return n, potential - n * threshold


def fire_reset_to_zero(potential, threshold, phi):
    n = np.clip(potential // threshold, 0, phi)
    return n, np.where(n > 0, 0, potential)


def fire_reset_once(potential, threshold, phi):
    n = np.clip(potential // threshold, 0, phi)
    return n, np.where(n > 0, potential - threshold, potential)


def fire_three(potential, threshold, phi):
    n = np.clip(potential // threshold, 0, 3)
    return n, potential - n * threshold


def fire_cut(potential, threshold, phi):
    n = np.clip(potential // threshold, 0, phi)
    return np.minimum(n, 2), potential - n * threshold


def fire_unlimited(potential, threshold, phi):
    n = np.clip(potential // threshold, 0, 9)
    return n, potential - n * threshold


def fire_even(potential, threshold, phi):
    n = np.clip(potential // threshold, 0, phi)
    return n // 2 * 2, potential - n * threshold


@pytest.mark.parametrize(
    ("fire", "cause"),
    [
        (fire_reset_to_zero, "reset: to zero"),
        (fire_reset_once, "reset: one threshold"),
        (fire_three, "payload clip: bursts of at most 3 instead of 4"),
        (fire_cut, "payload clip: a burst is cut to 2"),
        (fire_unlimited, "payload clip: bursts of at most 9 instead of 4"),
        (fire_even, "dropped bit: lowest bit of the payload"),
    ],
)
@pytest.mark.parametrize("architecture", ["residual", "maxpool", "frames"])
def test_a_faulty_neuron_is_named(make_netlist, monkeypatch, architecture, fire, cause):
    netlist = make_netlist(architecture)
    payloads = data(netlist)
    with monkeypatch.context() as patch:
        patch.setattr(golden, "fire", fire)
        actual = run(netlist, payloads, netlist)
    explanation = named(netlist, payloads, actual, cause)
    assert explanation.got.payload == explanation.divergence.got
    assert explanation.expected.payload == explanation.divergence.expected


def exact_thresholds(population):
    """Thresholds so small that potentials often meet them exactly."""
    if not isinstance(population, AdaFire):
        return population
    return replace(population, threshold=population.threshold * 0 + 2)


def test_a_strict_threshold_compare_is_named(make_netlist, monkeypatch):
    netlist = altered(make_netlist("conv", phi=200), population=exact_thresholds)
    payloads = data(netlist) // 40
    with monkeypatch.context() as patch:
        patch.setattr(golden, "fire", fire_above)
        actual = run(netlist, payloads, netlist)
    explanation = named(netlist, payloads, actual, "threshold compare: fires at u > theta")
    low, high = explanation.needed
    assert not low <= explanation.expected.integrated <= high


@pytest.mark.parametrize(
    ("weight", "cause"),
    [
        (lambda w: w & ~1, "dropped bit: lowest bit of the weights of input->a lost"),
        (lambda w: np.trunc(w / 2).astype(np.int64) * 2, "dropped bit: weights of input->a rounded to even"),
        (lambda w: np.flip(w, (2, 3)) if w.ndim == 4 else w, "kernel: that of input->a is flipped"),
    ],
)
def test_altered_weights_are_named(make_netlist, weight, cause):
    netlist = make_netlist("shortcut")
    payloads = data(netlist)
    named(netlist, payloads, run(altered(netlist, weight=weight), payloads, netlist), cause)


def small(population):
    """Thresholds, biases and potentials that fit 8 bits."""
    if not isinstance(population, AdaFire):
        return population
    p = population
    return replace(p, bias=p.bias % 60, threshold=p.threshold % 60 + 1, initial=p.initial * 0)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_narrower_membrane_is_named(make_netlist, bits):
    netlist = make_netlist("conv")
    if bits == 8:
        netlist = altered(netlist, population=small, weight=lambda w: w // 16)
    else:
        netlist = altered(netlist, weight=lambda w: np.sign(w) * 127)
    payloads = data(netlist)
    actual = run(replace(netlist, membrane_bits=bits), payloads, netlist)
    named(netlist, payloads, actual, f"saturation: clips at {bits} bits")


def test_missing_saturation_is_named(make_netlist):
    netlist = altered(make_netlist("conv"), weight=lambda w: np.sign(w) * 127, membrane_bits=16)
    payloads = data(netlist)
    assert sum(golden.simulate(netlist, payloads).saturations.values())
    named(netlist, payloads, run(replace(netlist, membrane_bits=24), payloads, netlist), "saturation: none")


def test_a_zero_initial_potential_is_named(make_netlist):
    netlist = make_netlist("residual")
    payloads = data(netlist)
    wrong = altered(netlist, population=lambda p: replace(p, initial=p.initial * 0) if isinstance(p, AdaFire) else p)
    named(netlist, payloads, run(wrong, payloads, netlist), "initial membrane potential: zero")


def test_a_missing_bias_is_named(make_netlist):
    netlist = make_netlist("residual")
    payloads = data(netlist)
    wrong = altered(netlist, population=lambda p: replace(p, bias=p.bias * 0) if hasattr(p, "bias") else p)
    named(netlist, payloads, run(wrong, payloads, netlist), "bias: not added")


def test_a_missing_skip_is_named(make_netlist):
    netlist = make_netlist("shortcut")
    payloads = data(netlist)
    wrong = replace(netlist, connections=tuple(c for c in netlist.connections if c.name != "a->c"))
    named(netlist, payloads, run(wrong, payloads, netlist), "connection: a->c is missing")


@pytest.mark.parametrize("architecture", ["residual", "linear", "maxpool"])
def test_state_kept_between_samples_is_named(make_netlist, architecture):
    netlist = make_netlist(architecture)
    payloads = data(netlist)
    explanation = named(netlist, payloads, step_by_step(netlist, payloads, keep_state=True), "reset: state kept")
    assert explanation.divergence.sample == 1


@pytest.mark.parametrize(("architecture", "name"), [("residual", "b"), ("maxpool", "m"), ("linear", "a")])
def test_payloads_that_leave_late_are_named(make_netlist, architecture, name):
    netlist = make_netlist(architecture)
    payloads = data(netlist)
    late = step_by_step(netlist, payloads, delayed=name)
    # Max-pooling commutes with a delay: whether payloads arrive or leave late cannot be told apart there.
    cause = "delay off by one: a->m arrives one timestep late" if name == "m" else "payloads leave one timestep late"
    named(netlist, payloads, late, cause)


@pytest.mark.parametrize("shift", [1, -1])
def test_a_skip_that_arrives_at_the_wrong_time_is_named(make_netlist, shift):
    """The skip's payloads come from the neighbouring timestep: the classic fault of an unbalanced path."""
    netlist = make_netlist("shortcut")
    payloads = data(netlist, samples=2)
    expected = golden.simulate(netlist, payloads)
    skip = next(c for c in netlist.connections if c.name == "a->c")
    other = next(c for c in netlist.connections if c.name == "b->c")
    c = netlist["c"]
    state = np.broadcast_to(golden.per_channel(c.initial, c.shape), (1, *c.shape)).astype(np.int64)
    emitted = []
    stream = [(t, s) for s in range(2) for t in range(netlist.timesteps)]
    for position, (t, s) in enumerate(stream):
        if t == 0:
            state = np.broadcast_to(golden.per_channel(c.initial, c.shape), (1, *c.shape)).astype(np.int64)
        current = golden.apply_chain(
            other.operators, expected.spikes["b"][t, s : s + 1].astype(np.int64), netlist["b"].shape
        )
        if 0 <= position - shift < len(stream):
            t2, s2 = stream[position - shift]
            arrived = expected.spikes["a"][t2, s2 : s2 + 1].astype(np.int64)
            current = current + golden.apply_chain(skip.operators, arrived, netlist["a"].shape)
        burst, state = golden.fire(
            state + current + golden.per_channel(c.bias, c.shape), golden.per_channel(c.threshold, c.shape), c.phi
        )
        emitted.append(burst[0])
    shaped = np.stack(emitted).reshape(2, netlist.timesteps, *c.shape).swapaxes(0, 1).astype(np.uint8)
    actual = replace(expected, backend="lava", spikes={**expected.spikes, "c": shaped})
    word = "late" if shift == 1 else "early"
    named(netlist, payloads, actual, f"delay off by one: a->c arrives one timestep {word}")


def test_payloads_taken_for_unsigned_are_named(make_netlist):
    netlist = make_netlist("residual")
    payloads = data(netlist)
    expected = golden.simulate(netlist, payloads)
    wrong = replace(netlist, populations=(replace(netlist.input, signed=False), *netlist.populations[1:]))
    ran = golden.simulate(wrong, payloads & 255)
    actual = replace(ran, netlist_hash=netlist.content_hash, spikes={**ran.spikes, "input": expected.spikes["input"]})
    named(netlist, payloads, actual, "dropped bit: payloads over input->a lose their sign")


def test_the_neurons_inputs_add_up(make_netlist, monkeypatch):
    netlist = make_netlist("shortcut")
    payloads = data(netlist)
    actual = run(altered(netlist, weight=lambda w: w & ~1), payloads, netlist)
    explanation = named(netlist, payloads, actual, "dropped bit")
    m = explanation.expected
    assert m.before + explanation.current + explanation.bias == m.integrated
    assert m.after == m.integrated - m.payload * explanation.threshold
    assert explanation.current == sum(c.payload * c.weight for c in explanation.contributions)
    json.dumps(explanation.to_json())


def test_noise_is_not_explained_away(make_netlist):
    netlist = make_netlist("residual")
    payloads = data(netlist)
    expected = golden.simulate(netlist, payloads)
    spikes = {name: values.copy() for name, values in expected.spikes.items()}
    hit = np.random.default_rng(0).random(spikes["b"].shape) < 0.3
    spikes["b"][hit] = (spikes["b"][hit] + 2) % 5
    report = diagnose(netlist, expected, replace(expected, backend="lava", spikes=spikes))
    assert "reproduces all" not in report.first_divergence.cause
    assert not any(c.exact for c in report.explanation.candidates)


def test_the_explanation_survives_joining(make_netlist):
    netlist = make_netlist("residual")
    payloads = data(netlist)
    expected = golden.simulate(netlist, payloads)
    same = diagnose(netlist, expected, replace(expected, backend="lava"))
    bad = diagnose(netlist, expected, run(altered(netlist, weight=lambda w: w & ~1), payloads, netlist))
    joined = join([same, bad])
    assert joined.first_divergence.sample == bad.first_divergence.sample + 3
    assert joined.explanation.divergence == joined.first_divergence
    assert joined.explanation.candidates == bad.explanation.candidates


def test_equal_traces_need_no_explanation(make_netlist):
    netlist = make_netlist("residual")
    trace = golden.simulate(netlist, data(netlist))
    report = diagnose(netlist, trace, trace)
    assert report.equivalent
    assert report.explanation is None
    assert "explanation" not in report.to_json()


def test_the_explanation_reads_well(make_netlist, monkeypatch, capsys):
    netlist = make_netlist("residual")
    payloads = data(netlist)
    with monkeypatch.context() as patch:
        patch.setattr(golden, "fire", fire_reset_to_zero)
        actual = run(netlist, payloads, netlist)
    named(netlist, payloads, actual, "reset: to zero")
    Console(width=80).print(diagnose(netlist, golden.simulate(netlist, payloads), actual))
    text = capsys.readouterr().out
    assert "Likely cause: reset: to zero" in text
    for word in ("payload", "weight", "before", "integrated", "after", "Threshold"):
        assert word in text
