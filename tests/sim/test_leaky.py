"""Leaky neurons against Lava's own LIF, number by number: its model decides what is right."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sim import leaky
from sim.golden_leaky import decayed, leak
from toolchain.netlist import (
    Connection,
    CubaLif,
    Input,
    LeakyReadout,
    Linear,
    Netlist,
    NetlistError,
    bound_leaky,
    can_saturate,
)
from toolchain.netlist.bounds import Interval
from toolchain.netlist.leaky import STATE_LIMIT

#: Neurons, timesteps and samples of one comparison.
M, T, N = 12, 40, 5


def draw(seed):
    """Parameters of neurons and what arrives at them: extreme ones among them, so that sums wrap and clip."""
    rng = np.random.default_rng(seed)
    decay = lambda: rng.choice([0, 1, 4095, 4096, *rng.integers(0, 4097, 4)], M)  # noqa: E731
    reach = rng.choice([50, 5_000, 200_000, 5_000_000], M)
    return {
        "current_decay": decay(),
        "voltage_decay": decay(),
        "threshold": rng.choice([1, 300, 20_000, 2**17 - 1], M),
        # Mantissa and exponent, as Lava has them.
        "bias_mant": rng.integers(-4096, 4096, M),
        "bias_exp": rng.integers(0, 8, M),
        "current": rng.integers(-reach, reach + 1, (T, N, M)),
    }


def population(numbers, reset="zero"):
    fields = ("threshold", "current_decay", "voltage_decay")
    bias = numbers["bias_mant"] << numbers["bias_exp"]
    return CubaLif("a", (M,), *(numbers[f].astype(np.int64) for f in fields), bias.astype(np.int64), reset)


def run_golden(neurons, current):
    u = v = np.zeros(current.shape[1:], np.int64)
    spikes, states, limited = [], [], 0
    for arriving in current:
        fired, (u, v, count) = leak(neurons, arriving, u, v)
        spikes.append(fired)
        states.append((u, v))
        limited += count
    return np.stack(spikes), np.array(states), limited


STOCK = """
    import json, sys
    import numpy as np
    from hw_targets.lava_runtime.shim import load_lava
    load_lava()
    from lava.proc.lif.models import PyLifModelBitAcc

    # Lava's model as it is, without ports: one instance per neuron, since it takes one decay and one threshold.
    data = np.load(sys.argv[1])
    spikes, states = [], []
    for i in range(len(data["threshold"])):
        model = PyLifModelBitAcc({})
        samples = data["current"].shape[1]
        model.u, model.v = np.zeros(samples, np.int32), np.zeros(samples, np.int32)
        # As netx sets them.
        model.du, model.dv = int(data["current_decay"][i]) - 1, int(data["voltage_decay"][i])
        model.vth = int(data["threshold"][i])
        model.bias_mant = np.full(samples, data["bias_mant"][i], np.int16)
        model.bias_exp = np.full(samples, data["bias_exp"][i], np.int16)
        for arriving in data["current"][:, :, i]:
            model.scale_bias()
            model.scale_threshold()
            model.subthr_dynamics(activation_in=arriving.astype(np.int32))
            fired = model.spiking_activation()
            model.reset_voltage(spike_vector=fired)
            spikes.append(fired.copy())
            states.append((model.u.copy(), model.v.copy()))
    np.savez(sys.argv[2], spikes=np.stack(spikes), states=np.array(states))
    print(json.dumps(len(spikes)))
"""


@pytest.mark.lava
@pytest.mark.parametrize("seed", range(3))
def test_equals_lavas_own_lif(seed, tmp_path):
    """Spikes, currents and potentials of Lava's PyLifModelBitAcc, where sums wrap and clip among others."""
    numbers = draw(seed)
    np.savez(tmp_path / "given.npz", **numbers)
    command = [sys.executable, "-c", textwrap.dedent(STOCK), str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    assert json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) == M * T
    found = np.load(tmp_path / "found.npz")
    spikes, states, limited = run_golden(population(numbers), numbers["current"])
    assert limited > 0
    assert spikes.any()
    # Stock: neuron by neuron, then timestep by timestep.
    np.testing.assert_array_equal(found["spikes"].reshape(M, T, N).transpose(1, 2, 0), spikes)
    np.testing.assert_array_equal(found["states"].reshape(M, T, 2, N).transpose(1, 2, 3, 0), states)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@given(seed=st.integers(0, 2**32 - 1))
def test_loop_and_torch_equal_the_golden_step(reset, seed):
    numbers = draw(seed)
    neurons = population(numbers, reset)
    spikes, states, limited = run_golden(neurons, numbers["current"])
    out, state, count = leaky.leak(neurons, torch.from_numpy(numbers["current"]), T, None)
    np.testing.assert_array_equal(out.numpy(), spikes)
    np.testing.assert_array_equal(state.numpy(), states[-1].transpose(1, 0, 2))
    assert count == limited
    looped, scanned = np.zeros((N, T, M), np.uint8), np.zeros((N, 2, M), np.int64)
    arriving = np.ascontiguousarray(numbers["current"].transpose(1, 0, 2), np.float64)
    count = leaky.scan(arriving, *leaky.flat_constants(neurons), leaky.ending(neurons), scanned, looped)
    np.testing.assert_array_equal(looped.transpose(1, 0, 2), spikes)
    np.testing.assert_array_equal(scanned, state.numpy())
    assert count == limited


@given(st.integers(-STATE_LIMIT, STATE_LIMIT), st.integers(0, 4096))
def test_decay_truncates_toward_zero(state, decay):
    found = int(decayed(np.array(state), np.array(decay)))
    assert found == int(state * (4096 - decay) / 4096)
    assert abs(found) <= abs(state)


@given(seed=st.integers(0, 2**32 - 1))
def test_no_timestep_leaves_the_bound(seed):
    numbers = draw(seed)
    neurons = population(numbers)
    small = numbers["current"] // 1000
    _, states, limited = run_golden(neurons, small)
    interval = Interval(small.min((0, 1)), small.max((0, 1)))
    current, potential = bound_leaky(neurons, interval, T)
    if max(current.magnitude, potential.magnitude) < STATE_LIMIT:
        assert limited == 0
        for found, bound in zip(states.transpose(1, 0, 2, 3), (current, potential), strict=True):
            assert np.all(bound.low <= found)
            assert np.all(found <= bound.high)


def small(decay=300, threshold=60, bias=0, **settings):
    ones = np.ones(2, np.int64)
    neurons = CubaLif("a", (2,), threshold * ones, decay * ones, decay * ones, bias * ones)
    readout = LeakyReadout("r", (2,), decay * ones, decay * ones, 0 * ones, np.ones(2))
    source = Input("input", (3,), 8, True, 1.0, np.zeros(3), np.ones(3), "frames")
    connections = (
        Connection("input", "a", (Linear(np.full((2, 3), 100)),)),
        Connection("a", "r", (Linear(np.full((2, 2), 100)),)),
    )
    return Netlist((source, neurons, readout), connections, 4, **settings)


def test_bounds_say_whether_a_state_can_reach_its_limit():
    assert can_saturate(small(decay=0), "a", 4096)
    assert not can_saturate(small(decay=4096), "a", 4096)
    assert not can_saturate(small(), "r")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay": -1}, "current_decay -1 found, expected 0 to 4096"),
        ({"decay": 4097}, "current_decay 4097 found, expected 0 to 4096"),
        ({"threshold": 0}, "threshold has 0, expected at least 1"),
        ({"threshold": 2**17}, "at most 131071"),
        ({"bias": 2**23}, "bias reaches 8388608"),
        ({"membrane_bits": 16}, "leaky neurons have 24 bits, but membrane_bits is 16"),
    ],
)
def test_numbers_that_a_chip_does_not_have(fields, message):
    with pytest.raises(NetlistError, match=message):
        small(**fields)
