"""Samples of one recording against one long run of the golden step: state goes on as if there were no cut."""

from dataclasses import replace

import numpy as np
import pytest

from sim import compile_netlist, compile_recording, golden, recording
from toolchain.netlist import AdaFire, InputError, Readout

#: Samples of a recording, and of those how many come in each batch.
BATCHES = (1, 3, 2)
SAMPLES = sum(BATCHES)


def long_run(netlist, payloads):
    """The golden step on all samples joined to one; what is held for a sample becomes as many frames."""
    steps = netlist.timesteps * SAMPLES
    source = netlist.input
    if source.coding == "frames":
        joined = payloads.swapaxes(0, 1).reshape(steps, 1, *source.shape)
    else:
        joined = np.repeat(payloads, netlist.timesteps, axis=0)[:, np.newaxis]
    populations = (replace(source, coding="frames"), *netlist.populations[1:])
    return golden.simulate(replace(netlist, populations=populations, timesteps=steps), joined)


def cut(values, netlist):
    """Return (T * samples, 1, *shape) as (T, samples, *shape)."""
    return values.reshape(SAMPLES, netlist.timesteps, *values.shape[2:]).swapaxes(0, 1)


def run(netlist, payloads, **options):
    """Run the recording, in batches."""
    simulator = compile_recording(netlist)
    axis = 1 if netlist.input.coding == "frames" else 0
    parts = np.split(payloads, np.cumsum(BATCHES)[:-1], axis=axis)
    return [simulator.run(part, **options) for part in parts]


@pytest.mark.parametrize("timesteps", [1, 2, 5])
def test_every_payload_is_that_of_one_long_run(architecture, timesteps, make_netlist, make_payloads):
    netlist = make_netlist(architecture, timesteps=timesteps)
    payloads = make_payloads(netlist, SAMPLES)
    names = [netlist.input.name, *(p.name for p in netlist.spiking)]
    results = run(netlist, payloads, record=names)
    expected = long_run(netlist, payloads)
    for name in names:
        found = np.concatenate([r.spikes[name] for r in results], axis=1)
        np.testing.assert_array_equal(found, cut(expected.spikes[name], netlist), err_msg=name)
    for readout in netlist.readouts:
        found = np.concatenate([r.readouts[readout.name] for r in results], axis=1)
        sums = cut(expected.readouts[readout.name], netlist)
        if isinstance(readout, Readout):
            # What was there before the sample's first timestep is taken off.
            sums = sums - np.concatenate([np.zeros_like(sums[-1, :1]), sums[-1, :-1]])
        np.testing.assert_array_equal(found, sums)
    clipped = {name: sum(r.saturations[name] for r in results) for name in results[0].saturations}
    assert clipped == expected.saturations


def test_state_makes_a_difference(architecture, make_netlist, make_payloads):
    """A sample at rest and one that goes on are told apart by these netlists, or the test above shows nothing."""
    netlist = make_netlist(architecture)
    payloads = make_payloads(netlist, SAMPLES)
    names = [p.name for p in netlist.spiking]
    kept = np.concatenate([r.spikes[names[-1]] for r in run(netlist, payloads, record=names)], axis=1)
    assert (kept != compile_netlist(netlist).run(payloads, record=names).spikes[names[-1]]).any()


@pytest.mark.parametrize("name", ["residual", "recurrent"])
def test_counts_are_those_of_the_payloads(name, make_netlist, make_payloads):
    netlist = make_netlist(name)
    names = [netlist.input.name, *(p.name for p in netlist.spiking)]
    for result in run(netlist, make_payloads(netlist, SAMPLES), record=names, activity=True):
        samples = result.readout.shape[1]
        assert (result.activity.samples, result.activity.steps) == (samples, samples * netlist.timesteps)
        for spiking in names:
            counted = np.abs(result.spikes[spiking].astype(np.int64)).sum((0, 1))
            np.testing.assert_array_equal(result.activity.payloads[spiking], counted)


def test_a_potential_is_clipped_where_only_a_long_run_reaches_the_limit(make_netlist, make_payloads):
    """One sample alone stays below the limit; going on, potentials sink to it, and are clipped as the long run's."""
    netlist = make_netlist("residual")
    fires = next(p for p in netlist.populations if isinstance(p, AdaFire))
    sinking = replace(fires, bias=np.full(fires.shape[0], -(netlist.membrane_limit >> 4)))
    populations = tuple(sinking if p is fires else p for p in netlist.populations)
    netlist = replace(netlist, populations=populations)
    payloads = make_payloads(netlist, SAMPLES)
    assert compile_netlist(netlist).run(payloads).saturations[fires.name] == 0
    clipped = sum(r.saturations[fires.name] for r in run(netlist, payloads))
    assert clipped == long_run(netlist, payloads).saturations[fires.name] > 0


def test_another_recording_begins_at_rest(make_netlist, make_payloads):
    netlist = make_netlist("recurrent")
    payloads = make_payloads(netlist, 2)
    simulator = compile_recording(netlist)
    first = simulator.run(payloads).readout
    assert (simulator.run(payloads).readout != first).any()
    simulator.restart()
    np.testing.assert_array_equal(simulator.run(payloads).readout, first)


def test_what_a_recording_cannot_be_is_refused(make_netlist, make_payloads, monkeypatch):
    netlist = make_netlist("frames")
    payloads = make_payloads(netlist)
    simulator = compile_recording(netlist)
    with pytest.raises(InputError, match="6 frames per sample found, expected 5: of a recording none may be left out"):
        simulator.run(np.concatenate([payloads, payloads[:1]]))
    with pytest.raises(InputError, match="no spiking population"):
        simulator.run(payloads, record=["nobody"])
    assert simulator.samples == 0
    pooling = make_netlist("maxpool", timesteps=4, phi=3)
    # 3 a timestep: three samples of 4 timesteps fit, no more.
    monkeypatch.setattr(recording, "SUM_LIMIT", 3 * 4 * 3)
    simulator = compile_recording(pooling)
    simulator.run(make_payloads(pooling, 2))
    with pytest.raises(InputError, match="sums of 16 timesteps of payloads up to 3 may exceed 36"):
        simulator.run(make_payloads(pooling, 2))
    simulator.run(make_payloads(pooling, 1))
