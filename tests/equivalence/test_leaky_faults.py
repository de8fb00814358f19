"""What an executor does to leaky neurons otherwise is named, by reproducing what it sent."""

from dataclasses import replace

import numpy as np
import pytest

from sim import golden
from toolchain.equivalence.explain import diagnose
from toolchain.equivalence.faults import Isolated
from toolchain.equivalence.leaky_faults import RIGHT, leaky_faults, run_leaky
from toolchain.netlist import Trace


def faulty(netlist, trace, name, step):
    """Return the trace of a run in which one population is updated otherwise; what it feeds is left as it was."""
    population = netlist[name]
    sources = {c.source: trace.spikes[c.source] for c in netlist.inputs(name)}
    current = Isolated(netlist, name, sources).current()
    changed = run_leaky(population, current, step, carried=False)
    if not population.emits:
        return replace(trace, backend="other", readouts={**trace.readouts, name: changed})
    return replace(trace, backend="other", spikes={**trace.spikes, name: changed.astype(np.uint8)})


@pytest.mark.parametrize("architecture", ["leaky", "recurrent"])
def test_without_a_fault_it_is_the_golden_step(architecture, make_netlist, make_payloads):
    netlist = make_netlist(architecture, timesteps=12)
    payloads = make_payloads(netlist, samples=4)
    trace = golden.simulate(netlist, payloads)
    for name in (p.name for p in netlist.populations[1:] if hasattr(p, "current_decay") and netlist.inputs(p.name)):
        same = faulty(netlist, trace, name, RIGHT)
        np.testing.assert_array_equal(same.populations[name], trace.populations[name], err_msg=name)


@pytest.mark.parametrize(("architecture", "name"), [("leaky", "a"), ("recurrent", "b")])
def test_a_fault_of_a_leaky_neuron_is_named(architecture, name, make_netlist, make_payloads):
    netlist = make_netlist(architecture, 3, timesteps=20)
    payloads = make_payloads(netlist, samples=6)
    trace = golden.simulate(netlist, payloads)
    named = 0
    for cause, step in leaky_faults(netlist[name]).items():
        other = faulty(netlist, trace, name, step)
        if np.array_equal(other.spikes[name], trace.spikes[name]):
            continue  # nothing shows it here
        report = diagnose(netlist, trace, other)
        assert report.first_divergence.population == name
        found = [c.cause for c in report.explanation.candidates if c.exact]
        assert cause in found, cause
        named += 1
    assert named >= 4


def test_synapses_of_delayed_connections_explain_a_current(make_netlist, make_payloads):
    """The payloads that arrive are those that were sent a delay earlier."""
    netlist = make_netlist("recurrent", timesteps=12)
    payloads = make_payloads(netlist, samples=3)
    trace = golden.simulate(netlist, payloads)
    spikes = trace.spikes["a"].copy()
    spikes[5, 1, 2] ^= 1
    report = diagnose(netlist, trace, Trace(trace.netlist_hash, "other", {**trace.spikes, "a": spikes}, trace.readouts))
    weights = {c.source: c.operators[-1].weight[2] for c in netlist.inputs("a")}
    expected = weights["input"] @ trace.spikes["input"][5, 1] + weights["a"] @ trace.spikes["a"][4, 1]
    expected += weights["b"] @ trace.spikes["b"][3, 1] + weights["bias"] @ trace.spikes["bias"][5, 1]
    assert report.explanation.current == expected
