"""Netlists on real Lava: every payload equal to the golden step, in time and out of time."""

import numpy as np
import pytest
from random_netlists import PICTURES, radix_netlist

from hw_targets.lava_runtime import measure_on_lava, run_on_lava
from hw_targets.lava_runtime.stock import compare_with_stock
from hw_targets.schedule import schedule
from sim import golden
from toolchain.data import Dataset, Truth
from toolchain.equivalence import verify
from toolchain.evaluate import evaluate
from toolchain.netlist import AdaFire, Connection, Conv, Input, InputError, Linear, Netlist, Readout, Reshape, Scale

pytestmark = pytest.mark.lava

LIMIT = 60


def assert_same(found, expected):
    """Equality of everything that a trace holds, clips included."""
    assert found.netlist_hash == expected.netlist_hash
    assert found.populations.keys() == expected.populations.keys()
    for name, values in expected.populations.items():
        assert found.populations[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found.populations[name], values, err_msg=name)
    assert found.saturations == expected.saturations


def dense(rng, name, inputs, features=5, *, phi=3, theta=60, **fields):
    """A dense population and its connections, in a netlist of flat populations."""
    defaults = {
        "threshold": rng.integers(theta // 2, theta * 2, features),
        "bias": rng.integers(-20, 30, features),
        "initial": np.full(features, theta // 2),
        "scale": np.ones(features),
    }
    population = AdaFire(name, (features,), phi, **{**defaults, **fields})
    return population, [
        Connection(source, name, (Linear(rng.integers(-40, 50, (features, width))),)) for source, width in inputs
    ]


def flat_input(features=4, coding="direct"):
    return Input("input", (features,), 6, True, 0.1, np.zeros(features), np.ones(features), coding)


@pytest.mark.parametrize("seed", [0, 1])
def test_lava_equals_the_golden_step(architecture, seed, make_netlist, make_payloads):
    """Three samples on two lanes: back to back, and the last round half empty."""
    netlist = make_netlist(architecture, seed, timesteps=(5, 3)[seed], phi=(4, 1)[seed])
    payloads = make_payloads(netlist, samples=3, seed=seed)
    run = measure_on_lava(netlist, payloads, lanes=2, time_limit=LIMIT)
    expected = golden.simulate(netlist, payloads)
    assert_same(run.trace, expected)
    assert run.trace.backend == "lava"


@pytest.mark.parametrize("architecture", PICTURES)
def test_lava_equals_the_golden_window(architecture, make_payloads):
    """Digits: numbers of one sample leave while those of the next come in."""
    base, digits = (3, 3) if architecture in ("residual", "linear") else (2, 4)
    netlist = radix_netlist(architecture, 1, base=base, digits=digits)
    payloads = make_payloads(netlist, samples=3)
    run = measure_on_lava(netlist, payloads, lanes=2, time_limit=LIMIT)
    assert_same(run.trace, golden.simulate(netlist, payloads))


@pytest.mark.parametrize(("base", "digits"), [(2, 1), (2, 8), (256, 1)])
def test_windows_of_every_length(base, digits, make_payloads):
    netlist = radix_netlist("residual", base=base, digits=digits)
    payloads = make_payloads(netlist, samples=2)
    run = measure_on_lava(netlist, payloads, lanes=1, time_limit=LIMIT)
    assert_same(run.trace, golden.simulate(netlist, payloads))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_saturating_network_does_clip(seed, make_netlist, make_payloads):
    """So that the comparison above is of clips too."""
    netlist = make_netlist("saturating", seed, timesteps=(5, 3)[seed], phi=(4, 1)[seed])
    trace = golden.simulate(netlist, make_payloads(netlist, samples=3, seed=seed))
    assert sum(trace.saturations.values()) > 0


@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_lanes_change_nothing(lanes, make_netlist, make_payloads):
    netlist = make_netlist("shortcut", 3)
    payloads = make_payloads(netlist, samples=5)
    run = measure_on_lava(netlist, payloads, lanes=lanes, time_limit=LIMIT)
    assert_same(run.trace, golden.simulate(netlist, payloads))
    assert run.timing.steps == schedule(netlist).steps(-(-5 // min(lanes, 5)))


def skipping_netlist(seed: int) -> Netlist:
    """Paths of every length from one to five hops meet; readouts at depth 1 and at the end."""
    rng = np.random.default_rng(seed)
    populations, connections = [flat_input()], []
    widths = {"input": 4}
    for index in range(5):
        sources = list(widths.items())
        population, incoming = dense(rng, f"p{index}", sources, phi=1 + index)
        populations.append(population)
        connections += incoming
        widths[population.name] = 5
    for name, source in (("early", "input"), ("late", "p4")):
        populations.append(Readout(name, (3,), rng.integers(-9, 9, 3), np.ones(3)))
        connections.append(Connection(source, name, (Linear(rng.integers(-50, 50, (3, widths[source]))),)))
    return Netlist(tuple(populations), tuple(connections), timesteps=4)


def test_paths_of_unequal_length_meet_in_time():
    netlist = skipping_netlist(0)
    payloads = np.random.default_rng(1).integers(-31, 32, (4, 4)).astype(np.int8)
    assert schedule(netlist).depth == 6
    assert set(schedule(netlist).delays) == {1, 2, 3, 4, 5}
    run = measure_on_lava(netlist, payloads, lanes=1, time_limit=LIMIT)
    expected = golden.simulate(netlist, payloads)
    assert_same(run.trace, expected)
    assert all(burst.any() for burst in expected.spikes.values())


def test_populations_that_the_input_does_not_reach():
    """No fan-in, no fan-out, a part of its own, two connections from one source: all legal."""
    rng = np.random.default_rng(2)
    alone, _ = dense(rng, "alone", [], bias=np.array([7, 30, 0, -5, 90]))
    hidden, from_input = dense(rng, "hidden", [("input", 4)])
    twice, from_hidden = dense(rng, "twice", [("hidden", 5)])
    readouts = tuple(Readout(n, (5,), rng.integers(-9, 9, 5), np.ones(5)) for n in ("r0", "r1", "r2"))
    netlist = Netlist(
        (flat_input(), alone, hidden, twice, *readouts),
        (
            *from_input,
            *from_hidden,
            Connection("hidden", "twice", (Scale(rng.integers(1, 9, 5)),)),
            Connection("alone", "r0", ()),
            Connection("twice", "r1", ()),
        ),
        timesteps=3,
    )
    payloads = rng.integers(-31, 32, (2, 4)).astype(np.int8)
    assert_same(run_on_lava(netlist, payloads, time_limit=LIMIT), golden.simulate(netlist, payloads))


def test_a_netlist_without_hops():
    """One readout and nothing that reaches it: depth 0, and the silent line keeps the run together."""
    netlist = Netlist((flat_input(), Readout("r", (2,), np.array([3, -4]), np.ones(2))), (), timesteps=3)
    payloads = np.zeros((2, 4), np.int8)
    assert_same(run_on_lava(netlist, payloads, time_limit=LIMIT), golden.simulate(netlist, payloads))


def test_a_single_timestep_and_a_burst_of_255():
    rng = np.random.default_rng(4)
    population, incoming = dense(rng, "p", [("input", 4)], phi=255, threshold=np.full(5, 1))
    netlist = Netlist(
        (flat_input(), population, Readout("r", (5,), np.zeros(5, np.int64), np.ones(5))),
        (*incoming, Connection("p", "r", ())),
        timesteps=1,
    )
    payloads = rng.integers(-31, 32, (3, 4)).astype(np.int8)
    trace = run_on_lava(netlist, payloads, time_limit=LIMIT)
    assert trace.spikes["p"].max() == 255
    assert_same(trace, golden.simulate(netlist, payloads))


def test_progress_and_timing(make_netlist, make_payloads):
    netlist = make_netlist("conv")
    calls = []
    run = measure_on_lava(netlist, make_payloads(netlist), time_limit=LIMIT, progress=lambda *call: calls.append(call))
    steps = schedule(netlist).steps(1)
    assert calls == [(step, steps) for step in range(1, steps + 1)]
    found = run.timing.to_json()
    assert list(found["phases"]) == ["load", "build", "compile", "run", "stop"]
    assert found["processes"].keys() == run.trace.populations.keys()
    assert found["steps"] == steps
    assert 0 < found["seconds_per_step"] * steps < found["seconds"]
    assert found["activities"]["compute"] > 0


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        (np.zeros((2, 3, 7, 8), np.int8), "expected (N, 3, 7, 9)"),
        (np.zeros((2, 3, 7, 9)), "expected integers"),
        (np.full((2, 3, 7, 9), 128), "expected -127 .. 127"),
        (np.zeros((0, 3, 7, 9), np.int8), "no samples"),
    ],
)
def test_payloads_that_the_input_does_not_take(payloads, message, make_netlist):
    with pytest.raises(InputError) as error:
        run_on_lava(make_netlist("conv"), payloads)
    assert message in str(error.value)


def test_too_few_frames(make_netlist, make_payloads):
    netlist = make_netlist("frames")
    with pytest.raises(InputError, match="4 frames found, expected 5"):
        run_on_lava(netlist, make_payloads(netlist)[:4])


def test_stock_processes_run_the_same_layers():
    """Only that both run and are timed; how far apart they are is for the benchmark to say."""
    rng = np.random.default_rng(0)

    def layer(name, shape):
        fields = (rng.integers(200, 900, shape[0]), rng.integers(-9, 9, shape[0]), np.zeros(shape[0], np.int64))
        return AdaFire(name, shape, 4, *fields, np.ones(shape[0]))

    def conv(outputs, inputs, stride):
        return Conv(rng.integers(-99, 99, (outputs, inputs, 3, 2)), stride, ((1, 1), (0, 0)), (1, 1))

    source = Input("input", (2, 6, 7), 8, True, 0.1, np.zeros(2), np.ones(2))
    netlist = Netlist(
        (source, layer("a", (4, 3, 6)), layer("b", (4, 3, 5)), Readout("r", (60,), np.zeros(60, int), np.ones(60))),
        (
            Connection("input", "a", (conv(4, 2, (2, 1)),)),
            Connection("a", "b", (conv(4, 4, (1, 1)),)),
            Connection("b", "r", (Reshape((60,)),)),
        ),
        timesteps=3,
    )
    found = compare_with_stock(netlist, np.ones((2, 2, 6, 7), np.int8), lanes=2, time_limit=LIMIT).to_json()
    assert found["layers"] == ("a", "b")
    assert found["steps"] == 6
    assert min(found["stock"], found["adafire"], found["adafire_with_lanes"]) > 0


def test_stock_processes_take_sequences_only(make_netlist, make_payloads):
    netlist = make_netlist("residual")
    with pytest.raises(InputError, match="expected a sequence of layers"):
        compare_with_stock(netlist, make_payloads(netlist))
    netlist = make_netlist("linear")
    with pytest.raises(InputError):
        compare_with_stock(netlist, make_payloads(netlist))


def test_a_data_set_runs_batch_by_batch(make_netlist):
    """More samples than one run takes: evaluation and verification join them, and say what Lava cost."""
    netlist = make_netlist("conv", 1, timesteps=3)
    rng = np.random.default_rng(0)
    data = Dataset("random", rng.normal(size=(70, 3, 7, 9)), Truth(rng.integers(0, 5, 70)))
    found = evaluate(netlist, data, batch=40, backend="lava")
    expected = evaluate(netlist, data)
    cost = found.to_json().pop("lava")
    times = schedule(netlist)
    assert cost["samples"] == 70
    # 40 samples are three rounds of at most 16 lanes, 30 are two.
    assert cost["steps"] == times.steps(3) + times.steps(2)
    assert cost["seconds_per_step"] > 0
    assert set(cost["phases"]) == {"load", "build", "compile", "run", "stop"}
    assert "lava" not in expected.to_json()
    assert found.accuracy_by_timestep == expected.accuracy_by_timestep
    assert found.spikes_per_sample == expected.spikes_per_sample
    report = verify(netlist, data, "lava")
    assert report.equivalent
    assert report.samples == 70
