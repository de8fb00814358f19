"""What targets say of neurons that leak, of loops, and of delays."""

from dataclasses import replace

import numpy as np
import pytest

from hw_targets.placement import place
from hw_targets.rules import check
from hw_targets.target import load_target
from hw_targets.unroll import unroll
from toolchain.netlist import Connection, CubaLif, Input, LeakyReadout, Linear, Netlist, TargetError


def network(*, decay=400, threshold=60, bias=64, reset="zero", weight=100, delay=1, bits=1):
    ones = np.ones(4, np.int64)
    source = Input("input", (6,), bits, bits > 1, 1.0, np.zeros(6), np.ones(6), "frames")
    neurons = CubaLif("a", (4,), threshold * ones, decay * ones, decay * ones, bias * ones, reset)
    readout = LeakyReadout("r", (2,), ones[:2] * decay, ones[:2] * decay, 0 * ones[:2], np.ones(2))
    connections = (
        Connection("input", "a", (Linear(np.full((4, 6), weight)),)),
        Connection("a", "a", (Linear(np.full((4, 4), -3)),), delay),
        Connection("a", "r", (Linear(np.full((2, 4), 5)),)),
    )
    return Netlist((source, neurons, readout), connections, 20, weight_bits=16)


def rules(netlist, target):
    return {(v.rule, v.where) for v in check(netlist, load_target(target)).violations}


@pytest.mark.parametrize("target", ["loihi1", "loihi2", "kapoho_bay"])
def test_loihi_holds_cuba_neurons_and_loops(target):
    netlist = network()
    assert rules(netlist, target) == set()
    assert place(netlist, load_target(target)).cores == 1


def test_weights_may_use_the_exponent_of_a_chip():
    """lava-dl's weights of both signs are even up to 254: 8 bits and an exponent."""
    assert rules(network(weight=254), "loihi1") == set()
    assert ("weight_width", "input->a") in rules(network(weight=253), "loihi1")


@pytest.mark.parametrize(
    ("changes", "target", "rule"),
    [
        ({}, "speck", ("leaky_neurons", "a")),
        ({}, "akida1", ("leaky_neurons", "r")),
        ({}, "xylo_audio2", ("leaky_neurons", "a")),
        ({"reset": "subtract"}, "loihi1", ("leaky_neurons", "a")),
        ({"bias": 2**13 + 1}, "loihi1", ("leaky_fields", "a")),
        ({"threshold": 2**16, "decay": 512}, "xylo_audio2", ("leaky_fields", "a")),
        ({"bits": 8}, "loihi1", ("input_payload", "input")),
        ({"delay": 70}, "loihi2", ("skip_delay", "a->a")),
        ({"weight": 5500}, "loihi1", ("leaky_currents", "a")),
    ],
)
def test_what_a_target_does_not_have(changes, target, rule):
    assert rule in rules(network(**changes), target)


def test_decays_that_are_shifts_and_a_reset_by_subtraction():
    assert not {r for r in rules(network(decay=512), "xylo_audio2") if r[0] == "leaky_neurons"}
    assert rules(network(reset="subtract"), "loihi2") == set()


def test_a_loop_that_is_too_fast_is_a_violation(make_netlist):
    netlist = make_netlist("recurrent")
    back = next(c for c in netlist.connections if c.name == "b->a")
    hasty = replace(netlist, connections=(*(c for c in netlist.connections if c is not back), replace(back, delay=1)))
    violation = next(v for v in check(hasty, load_target("loihi2")).violations if v.rule == "loops")
    assert "more hops than timesteps of delay" in violation.actual


def test_sub_steps_are_no_timesteps_to_a_leak():
    netlist = network(bits=8)
    with pytest.raises(TargetError, match="leaks or has a delay"):
        unroll(netlist)
    report = check(netlist, load_target("loihi1"), unroll=True)
    assert {v.where for v in report.violations if v.rule == "unroll_room"} == {"a", "r", "a->a"}
