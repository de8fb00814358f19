"""Comparing traces: what counts as first, what is counted, what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from toolchain.equivalence import compare, join
from toolchain.netlist import InputError, Trace


@pytest.fixture
def trace() -> Trace:
    rng = np.random.default_rng(7)
    return Trace(
        netlist_hash="a" * 64,
        backend="reference",
        spikes={
            "input": rng.integers(-127, 128, (3, 2, 1, 4, 4)).astype(np.int8),
            "conv": rng.integers(0, 5, (3, 2, 2, 4, 4)).astype(np.uint8),
            "deep": rng.integers(0, 5, (3, 2, 6)).astype(np.uint8),
        },
        readouts={"readout": rng.integers(-(2**40), 2**40, (3, 2, 10))},
    )


def altered(trace: Trace, *changes: tuple[str, tuple[int, ...]]) -> Trace:
    arrays = {name: values.copy() for name, values in trace.populations.items()}
    for name, position in changes:
        arrays[name][position] += 1
    return replace(
        trace,
        backend="lava",
        spikes={name: arrays[name] for name in trace.spikes},
        readouts={name: arrays[name] for name in trace.readouts},
    )


def test_equal_traces(trace):
    report = compare(trace, altered(trace))
    assert report.equivalent
    assert report.to_json() == {
        "equivalent": True,
        "compared_values": 3 * 2 * (16 + 32 + 6 + 10),
        "first_divergence": None,
    }


def test_the_first_divergence_is_the_earliest_in_time_then_in_the_order_of_the_netlist(trace):
    changed = altered(
        trace,
        ("conv", (2, 0, 0, 0, 0)),
        ("readout", (1, 0, 3)),
        ("deep", (1, 1, 2)),
        ("deep", (1, 1, 0)),
        ("deep", (1, 0, 5)),
    )
    report = compare(trace, changed)
    first = report.to_json()["first_divergence"]
    assert not report.equivalent
    assert set(first) == {"population", "timestep", "sample", "index", "expected", "got", "cause"}
    assert (first["population"], first["timestep"], first["sample"], first["index"]) == ("deep", 1, 0, [5])
    assert first["got"] == first["expected"] + 1 == int(trace.spikes["deep"][1, 0, 5]) + 1
    assert "inputs agree" in first["cause"]
    assert report.differing == {"input": (0, 0, 0), "conv": (0, 0, 1), "deep": (0, 3, 0), "readout": (0, 1, 0)}


def test_a_different_input_is_named_as_such(trace):
    report = compare(trace, altered(trace, ("input", (0, 1, 0, 3, 3)), ("conv", (0, 0, 0, 0, 0))))
    assert report.first_divergence.population == "input"
    assert report.first_divergence.index == (0, 3, 3)
    assert "encoded" in report.first_divergence.cause


def test_large_running_sums_are_compared_exactly(trace):
    big = replace(trace, readouts={"readout": np.full((3, 2, 10), 2**60, np.int64)})
    off = replace(big, readouts={"readout": big.readouts["readout"] + np.eye(10, dtype=np.int64)[0]})
    assert compare(big, off).first_divergence.got == 2**60 + 1


def test_dtypes_that_hold_the_same_values_are_equal(trace):
    wide = replace(trace, spikes={name: values.astype(np.int64) for name, values in trace.spikes.items()})
    assert compare(trace, wide).equivalent


def test_batches_join_into_one_report(trace):
    later = compare(trace, altered(trace, ("conv", (1, 1, 0, 0, 0))))
    earlier = compare(trace, altered(trace, ("deep", (0, 1, 4))))
    joined = join([later, earlier, compare(trace, altered(trace))])
    assert (joined.first_divergence.population, joined.first_divergence.sample) == ("deep", 3)
    assert joined.samples == 6
    assert joined.compared_values == 3 * later.compared_values
    assert joined.differing["conv"] == (0, 1, 0)
    with pytest.raises(InputError):
        join([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: replace(t, netlist_hash="b" * 64), "netlists aaaaaaaaaaaa .* bbbbbbbbbbbb"),
        (lambda t: replace(t, spikes={k: v[:, :1] for k, v in t.spikes.items()}, readouts={}), "readout"),
        (lambda t: replace(t, spikes={k: v for k, v in t.spikes.items() if k != "deep"}), "'deep' is in one"),
        (lambda t: replace(t, spikes={**t.spikes, "deep": t.spikes["deep"][..., :5]}), r"deep: shapes \(3, 2, 6\)"),
        (lambda t: replace(t, spikes={**t.spikes, "deep": t.spikes["deep"].astype(float)}), "float64, expected integ"),
    ],
)
def test_traces_that_cannot_be_compared_are_refused(trace, change, message):
    with pytest.raises(InputError, match=message):
        compare(trace, change(trace))
