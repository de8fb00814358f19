"""A float network holds its rules from construction on."""

import numpy as np
import pytest

from toolchain.netlist import Connection, Conv, Linear, NetlistError, Pad, Reshape, Scale
from toolchain.network import Activation, FloatNetwork, MaxUnit, Output, Source

SOURCE = Source("input", (2, 4, 4))
CONV = Conv(np.ones((3, 2, 3, 3)), (1, 1), ((1, 1), (1, 1)), (1, 1))
UNIT = Activation("conv", (3, 4, 4), np.zeros(3))
POOL = MaxUnit("pool", (3, 4, 4), (2, 2), (2, 2), ((0, 0), (0, 0)))
HEAD = Output("fc", (5,), np.zeros(5))
FLAT = (Reshape((12,)), Linear(np.ones((5, 12))))


def network(*, conv=(CONV,), pool=(), head=FLAT, pool_source="conv", units=(SOURCE, UNIT, POOL, HEAD)):
    return FloatNetwork(
        units,
        (Connection("input", "conv", conv), Connection(pool_source, "pool", pool), Connection("pool", "fc", head)),
    )


def test_units_are_found_by_kind_and_name():
    made = network()
    assert made.source is SOURCE
    assert made.activations == (UNIT,)
    assert made.outputs == (HEAD,)
    assert made["pool"] is POOL
    assert [c.name for c in made.inputs("fc")] == ["pool->fc"]
    with pytest.raises(NetlistError, match="no unit 'pools'; there are input, conv, pool, fc"):
        made["pools"]


WEIGHT = Linear(np.ones((5, 12), dtype=np.int64))
BROKEN = {
    "integer weights": ({"head": (Reshape((12,)), WEIGHT)}, "pool->fc: weights are int64, expected real numbers"),
    "no weights": ({"conv": (Pad(((1, 0), (0, 0), (0, 0))),)}, "input->conv: has no weights"),
    "a maximum of weighted values": ({"pool": (Scale(np.ones(3)),)}, "conv->pool: a maximum takes units' values"),
    "a maximum of the input": (
        {"pool": (Pad(((1, 0), (0, 0), (0, 0))),), "pool_source": "input"},
        "input->pool: a maximum takes units' values",
    ),
    "another shape": ({"head": (Linear(np.ones((5, 12))),)}, "pool->fc"),
    "no output": ({"units": (SOURCE, UNIT, POOL)}, "no readout"),
    "no source": ({"units": (UNIT, POOL, HEAD)}, "exactly one input"),
    "two sources": ({"units": (SOURCE, Source("other", (1,)), UNIT, POOL, HEAD)}, "exactly one input"),
    "the source behind": ({"units": (UNIT, SOURCE, POOL, HEAD)}, "as the first population"),
    "backwards": ({"units": (SOURCE, POOL, UNIT, HEAD)}, "runs backwards"),
    "one name twice": ({"units": (SOURCE, UNIT, UNIT, POOL, HEAD)}, "two populations have this name"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_network_that_breaks_a_rule_is_refused(name):
    changes, message = BROKEN[name]
    with pytest.raises(NetlistError) as caught:
        network(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Source("a b", (2,)), "name 'a b'"),
        (lambda: Source("a", (0,)), "a: shape (0,)"),
        (lambda: Activation("a", (3, 2), np.zeros(2)), "a: bias has shape (2,), expected (3,) or (3, 2)"),
        (lambda: Activation("a", (3,), np.full(3, np.nan)), "a: bias holds 3 values that are NaN"),
        (lambda: Activation("a", (3,), np.zeros(3), upper=0.0), "a: upper limit 0.0 found"),
        (lambda: MaxUnit("", (3, 4), (2,), (2,), ((0, 0),)), "name ''"),
        (lambda: MaxUnit("a", (3, 4, 4, 4, 4), (2,), (2,), ((0, 0),)), "a: shape (3, 4, 4, 4, 4)"),
        (lambda: Output("a", (3,), np.zeros(4)), "a: bias has shape (4,)"),
    ],
)
def test_a_unit_that_breaks_a_rule_is_refused(make, message):
    with pytest.raises(NetlistError) as caught:
        make()
    assert message in str(caught.value)


def test_the_classifier_is_the_only_output_of_one_axis():
    assert network().classifier is HEAD
    second = Output("other", (5,), np.zeros(5))
    two = FloatNetwork((*network().units, second), (*network().connections, Connection("pool", "other", FLAT)))
    assert two.outputs == (HEAD, second)
    assert two.classifier is None
    maps = Output("map", (3, 4, 4), np.zeros(3))
    segmenting = FloatNetwork((SOURCE, maps), (Connection("input", "map", (CONV,)),))
    assert segmenting.classifier is None
