"""Input-aware adaptive timesteps: exits, decisions and spikes agree with the complete run."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import alpha_schedule, compile_early_exit, confidence, golden
from sim.early_exit import exit_timesteps
from toolchain.netlist import InputError


def test_confidence_runs_from_uniform_to_certain():
    readout = np.array([[0, 0, 0, 0], [10**6, 0, 0, 0]])
    np.testing.assert_allclose(confidence(readout, np.ones(4)), [0, 1], atol=1e-12)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=6), st.floats(1e-4, 1.0))
def test_confidence_is_one_minus_the_normalised_entropy(sums, scale):
    logits = np.array(sums) * scale
    p = np.exp(logits - logits.max())
    p /= p.sum()
    entropy = -sum(q * np.log(q) for q in p if q > 0)
    got = confidence(np.array(sums), np.full(len(sums), scale))
    np.testing.assert_allclose(got, 1 - entropy / np.log(len(sums)), atol=1e-9)
    assert -1e-9 <= got <= 1 + 1e-9


def test_alpha_asks_for_most_where_the_entropy_is_least():
    """Eq. 15: alpha is 1 at the least entropy and falls towards the base as entropy grows."""
    rng = np.random.default_rng(0)
    readout = rng.normal(0, 1, (6, 50, 10)).cumsum(0) * 100
    alpha = alpha_schedule(readout.astype(np.int64), np.full(10, 0.01), base=0.6)
    entropy = (1 - confidence(readout.astype(np.int64), np.full(10, 0.01))).mean(1)
    assert len(alpha) == 6
    assert alpha[int(entropy.argmin())] == 1.0
    assert list(np.argsort(alpha)) == list(np.argsort(-entropy))
    np.testing.assert_allclose(alpha, 0.6 + 0.4 * np.exp(-(entropy - entropy.min())))


@pytest.mark.parametrize("architecture", ["residual", "frames", "maxpool", "saturating", "leaky", "recurrent"])
@pytest.mark.parametrize("block", [1, 2, 3, 6])
def test_equals_the_complete_run_cut_short(architecture, block, make_netlist, make_payloads):
    netlist = make_netlist(architecture, timesteps=6)
    payloads = make_payloads(netlist, 9)
    trace = golden.simulate(netlist, payloads)
    scale = netlist.readouts[0].scale
    # A threshold amid the confidences that occur, so that samples stop at different timesteps.
    alpha = np.quantile(confidence(trace.readout, scale), 0.7, axis=1)
    exits = exit_timesteps(trace.readout, scale, alpha)
    assert len(set(exits.tolist())) > 1
    result = compile_early_exit(netlist, alpha=alpha, block=block, chunk=4).run(payloads)
    np.testing.assert_array_equal(result.timesteps, exits)
    np.testing.assert_array_equal(result.readout, trace.readout[exits - 1, np.arange(9)])
    assert result.mean_timesteps == exits.mean()
    assert result.activity.steps == exits.sum()
    spent = np.arange(6)[:, np.newaxis] < exits
    for name, values in trace.spikes.items():
        masked = values.astype(np.int64) * spent.reshape(*spent.shape, *(1 for _ in values.shape[2:]))
        np.testing.assert_array_equal(result.activity.payloads[name], np.abs(masked).sum((0, 1)))
        np.testing.assert_array_equal(result.activity.events[name], (masked != 0).sum((0, 1)))


def test_alpha_travels_in_the_netlist(make_netlist, make_payloads):
    netlist = make_netlist("conv", timesteps=4)
    payloads = make_payloads(netlist, 5)
    alpha = (0.1, 0.1, 0.1, 0.1)
    stored = dataclasses.replace(netlist, alpha=alpha)
    one, other = compile_early_exit(stored).run(payloads), compile_early_exit(netlist, alpha=alpha).run(payloads)
    np.testing.assert_array_equal(one.timesteps, other.timesteps)


def test_nothing_stops_before_t_where_alpha_is_out_of_reach(make_netlist, make_payloads):
    netlist = make_netlist("conv", timesteps=4)
    result = compile_early_exit(netlist, alpha=(1.1,) * 4).run(make_payloads(netlist, 3))
    assert result.timesteps.tolist() == [4, 4, 4]


def test_what_cannot_stop_early_is_refused(make_netlist):
    netlist = make_netlist("conv")
    with pytest.raises(InputError, match="holds no alpha"):
        compile_early_exit(netlist)
    with pytest.raises(InputError, match="2 values, expected 5"):
        compile_early_exit(netlist, alpha=(0.5, 0.5))
    with pytest.raises(InputError, match="block 0"):
        compile_early_exit(netlist, alpha=(0.5,) * 5, block=0)
    maps = make_netlist("upsampling")
    with pytest.raises(InputError, match="one readout of shape"):
        compile_early_exit(maps, alpha=(0.5,) * 5)
    for options in ({"base": 2.0}, {"delta": 0.0}):
        with pytest.raises(InputError, match="alpha"):
            alpha_schedule(np.zeros((2, 3, 4), np.int64), np.ones(4), **options)
