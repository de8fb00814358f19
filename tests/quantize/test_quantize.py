"""Quantisation: the integers are those of semantics, section 3, and nothing is rounded silently."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_targets.fields import largest_threshold
from hw_targets.target import load_target
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    ConvTranspose,
    Input,
    Linear,
    NetlistError,
    Pad,
    Readout,
    Reshape,
    Scale,
    Slice,
    SumPool,
    TargetError,
    Weighted,
    apply,
    apply_chain,
)
from toolchain.network import (
    Activation,
    Firing,
    FloatNetwork,
    MaxUnit,
    Output,
    Source,
    SpikingNetwork,
    shared_amplitudes,
)
from toolchain.quantize import Precision, quantize
from toolchain.quantize.scales import steady


def conv(weight: np.ndarray, groups: int = 1) -> Conv:
    pad = weight.shape[2] // 2
    return Conv(weight, (1, 1), ((pad, pad), (pad, pad)), (1, 1), groups)


def spiking(network: FloatNetwork, *, phi: int = 4, threshold=None, drift: float = 0.0, initial: float = 0.5):
    name, shape = network.source.name, network.source.shape
    source = Input(name, shape, 8, True, 0.02, np.zeros(shape[0]), np.ones(shape[0]))
    rng = np.random.default_rng(1)
    firing = {
        u.name: Firing(
            phi,
            rng.uniform(0.2, 1.5, u.shape[0]) if threshold is None else np.broadcast_to(threshold, u.shape[0]).copy(),
            np.full(u.shape[0], initial),
            drift,
        )
        for u in network.activations
    }
    return SpikingNetwork(network, source, firing, 8)


@pytest.fixture
def residual() -> FloatNetwork:
    rng = np.random.default_rng(0)
    return FloatNetwork(
        (
            Source("input", (3, 8, 8)),
            Activation("a", (4, 8, 8), rng.normal(size=4)),
            Activation("b", (8, 4, 4), rng.normal(size=8)),
            Output("out", (5,), rng.normal(size=5)),
        ),
        (
            Connection("input", "a", (conv(rng.normal(size=(4, 3, 3, 3))),)),
            Connection("a", "b", (Conv(rng.normal(size=(8, 4, 3, 3)), (2, 2), ((1, 1), (1, 1)), (1, 1)),)),
            Connection(
                "a", "b", (Slice(1, 0, 8, 2), Slice(2, 0, 8, 2), Pad(((2, 2), (0, 0), (0, 0))), Scale(np.ones(8)))
            ),
            Connection(
                "b", "out", (SumPool((4, 4), (4, 4), ((0, 0), (0, 0))), Reshape((8,)), Linear(rng.normal(size=(5, 8))))
            ),
        ),
    )


def test_the_numbers_of_section_3(residual):
    network = spiking(residual)
    netlist = quantize(network)
    a = netlist["a"]
    (connection,) = netlist.inputs("a")
    effective = residual.connections[0].operators[0].weight * 0.02
    scale = steady(np.abs(effective).max(axis=(1, 2, 3)) / 127)
    assert np.array_equal(a.scale, scale)
    assert np.array_equal(connection.operators[0].weight, np.rint(effective / scale[:, None, None, None]))
    assert np.array_equal(a.threshold, np.rint(network.firing["a"].threshold / scale))
    assert np.array_equal(a.bias, np.rint(residual["a"].bias / scale))
    assert np.array_equal(a.initial, a.threshold // 2)


def test_connections_into_one_population_share_a_scale(residual):
    netlist = quantize(spiking(residual))
    main, skip = (c.operators[-1] for c in netlist.inputs("b"))
    amplitude = netlist["a"].threshold * netlist["a"].scale
    original = residual.connections[1].operators[0].weight * amplitude[None, :, None, None]
    # Through the padding nothing arrives: its synapses weigh nothing, and leave the scale to those that do.
    carried = np.concatenate([np.zeros(2), amplitude, np.zeros(2)])
    scale = netlist["b"].scale
    assert np.array_equal(scale, steady(np.maximum(np.abs(original).max(axis=(1, 2, 3)), carried) / 127))
    assert np.array_equal(main.weight, np.rint(original / scale[:, None, None, None]))
    assert np.array_equal(skip.weight, np.rint(carried / scale))


@pytest.mark.parametrize("bits", [2, 4, 8, 10])
def test_the_largest_weight_of_a_channel_meets_the_range(residual, bits):
    netlist = quantize(spiking(residual), Precision(bits))
    top = 2 ** (bits - 1) - 1
    (connection,) = netlist.inputs("a")
    assert np.array_equal(np.abs(connection.operators[0].weight).max(axis=(1, 2, 3)), np.full(4, top))


def test_spread_adds_half_a_threshold_over_the_run(residual):
    plain = quantize(spiking(residual, initial=0.0))["a"]
    spread = quantize(spiking(residual, initial=0.0, drift=0.5 / 8))["a"]
    assert np.array_equal(plain.initial, np.zeros(4))
    exact = residual["a"].bias / plain.scale + 0.5 / 8 * plain.threshold
    assert np.array_equal(spread.bias, np.rint(exact))


def test_dead_channels_stay_silent_and_legal():
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 3))
    weight[1] = 0
    network = FloatNetwork(
        (
            Source("input", (2, 4, 4)),
            Activation("a", (3, 4, 4), np.array([0.1, -2.0, 0.0])),
            Output("out", (3,), np.zeros(3)),
        ),
        (
            Connection("input", "a", (conv(weight),)),
            Connection("a", "out", (SumPool((4, 4), (4, 4), ((0, 0), (0, 0))), Reshape((3,)), Linear(np.eye(3)))),
        ),
    )
    population = quantize(spiking(network))["a"]
    assert population.threshold[1] >= 1
    assert population.bias[1] < 0


def test_channels_that_weight_decay_left_next_to_nothing_are_silent():
    """Trained networks hold channels whose weights, bias and activations are 1e-41, which float32 barely holds."""
    faint = np.array([1.0, 1e-41, 1e-45])
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 3)) * faint[:, None, None, None]
    network = FloatNetwork(
        (Source("input", (2, 4, 4)), Activation("a", (3, 4, 4), 0.1 * faint), Output("out", (3,), np.zeros(3))),
        (
            Connection("input", "a", (conv(weight),)),
            Connection("a", "out", (SumPool((4, 4), (4, 4), ((0, 0), (0, 0))), Reshape((3,)), Linear(np.eye(3)))),
        ),
    )
    netlist = quantize(spiking(network, threshold=faint))
    (connection,) = netlist.inputs("a")
    assert (netlist["a"].scale > 0).all()
    assert not connection.operators[0].weight[1:].any()
    assert not netlist["a"].bias[1:].any()


def test_a_threshold_below_one_unit_is_raised_and_named():
    network = FloatNetwork(
        (Source("input", (4,)), Activation("a", (4,), np.zeros(4)), Output("out", (2,), np.zeros(2))),
        (
            Connection("input", "a", (Linear(np.full((4, 4), 1000.0)),)),
            Connection("a", "out", (Linear(np.ones((2, 4))),)),
        ),
    )
    netlist = quantize(spiking(network, threshold=1e-3))
    assert np.array_equal(netlist["a"].threshold, np.ones(4))
    assert any("raised to 1" in note for note in netlist.provenance.notes)


def test_a_target_that_is_too_narrow_is_named(residual):
    with pytest.raises(TargetError, match=r"^weight_bits: weights of 16 bits asked.*use `weight_bits` of 8 or fewer"):
        quantize(spiking(residual), Precision(16, load_target("loihi2")))
    with pytest.raises(TargetError, match=r"bursts of 4 asked.*use `phi` of 3 or less"):
        quantize(spiking(residual), Precision(8, replace(load_target("loihi2"), payload_bits=2)))


def test_thresholds_of_one_window_must_agree():
    network = FloatNetwork(
        (
            Source("input", (2, 4, 4)),
            Activation("a", (2, 4, 4), np.zeros(2)),
            MaxUnit("m", (1, 2, 16), (1, 2), (1, 2), ((0, 0), (0, 0))),
            Output("out", (2,), np.zeros(2)),
        ),
        (
            Connection("input", "a", (conv(np.ones((2, 2, 1, 1))),)),
            Connection("a", "m", (Reshape((1, 2, 16)),)),
            Connection("m", "out", (Reshape((16,)), Linear(np.ones((2, 16))))),
        ),
    )
    with pytest.raises(NetlistError, match="neurons with different thresholds meet"):
        quantize(spiking(network))
    quantize(spiking(network, threshold=0.5))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), kind=st.sampled_from(["grouped", "transpose", "chain", "flatten"]))
def test_integer_currents_approximate_real_currents(seed, kind):
    """Whatever the chain: scale * integer current is the real current up to rounding of weights."""
    rng = np.random.default_rng(seed)
    chain = {
        "grouped": (conv(rng.normal(size=(6, 2, 3, 3)), groups=2),),
        "transpose": (ConvTranspose(rng.normal(size=(4, 3, 2, 2)), (2, 2), ((0, 0), (0, 0)), 2),),
        "chain": (conv(rng.normal(size=(3, 4, 1, 1))), conv(rng.normal(size=(6, 3, 3, 3)))),
        "flatten": (conv(rng.normal(size=(2, 4, 1, 1))), Reshape((32,))),
    }[kind]
    shape = (4, 4, 4)
    for operator in chain:
        shape = operator.output_shape(shape)
    network = FloatNetwork(
        (
            Source("input", (4, 4, 4)),
            Activation("a", (4, 4, 4), np.zeros(4)),
            Activation("b", shape, np.zeros(shape[0])),
            Output("out", (1,), np.zeros(1)),
        ),
        (
            Connection("input", "a", (Scale(np.ones(4)),)),
            Connection("a", "b", chain),
            Connection("b", "out", (Reshape((int(np.prod(shape)),)), Linear(np.ones((1, int(np.prod(shape))))))),
        ),
    )
    # Weights in a row multiply their units: at 8 bits the product still fits the membrane potential.
    netlist = quantize(spiking(network), Precision(8 if kind == "chain" else 12))
    burst = rng.integers(0, 5, (4, 4, 4))
    a, b = netlist["a"], netlist["b"]
    real = burst * (a.threshold * a.scale)[:, None, None]
    # What arrives if no weights cancel: errors of rounding add up against that, not against what is left of it.
    magnitude = real
    integer = burst.astype(np.int64)
    reach = (4, 4, 4)
    for original, quantized in zip(chain, netlist.inputs("b")[0].operators, strict=True):
        real, integer = apply(original, real, reach), apply(quantized, integer, reach)
        if not isinstance(original, Reshape):
            original = replace(original, weight=np.abs(original.weight))
        magnitude = apply(original, magnitude, reach)
        reach = original.output_shape(reach)
    error = np.abs(real - integer * b.scale.reshape(-1, *(1 for _ in shape[1:])))
    assert error.max() <= (1e-2 if kind == "chain" else 1e-3) * max(1.0, magnitude.max())


def test_every_population_and_weight_is_an_integer(residual):
    netlist = quantize(spiking(residual), Precision(8, load_target("loihi2")))
    biased = [p for p in netlist.populations if isinstance(p, AdaFire | Readout)]
    assert [p.name for p in biased] == ["a", "b", "out"]
    assert all(np.issubdtype(p.bias.dtype, np.integer) for p in biased)
    for connection in netlist.connections:
        assert all(np.issubdtype(o.weight.dtype, np.integer) for o in connection.operators if isinstance(o, Weighted))


def test_rho_scales_threshold_and_outgoing_weights_alike(residual):
    base = spiking(residual)
    compressed = replace(base, firing={**base.firing, "a": replace(base.firing["a"], rho=2.0)})
    one, two = quantize(base), quantize(compressed)
    assert np.all(np.abs(two["a"].threshold - 2 * one["a"].threshold) <= 1)
    # All weights into b come from a: its unit of membrane potential takes the factor, up to rounding of a's thresholds.
    assert np.all(np.abs(two["b"].scale / one["b"].scale - 2) < 0.1)
    assert np.all(np.abs(2 * two["b"].threshold - one["b"].threshold) <= 0.06 * one["b"].threshold + 1)


def masked(seed: int) -> Scale:
    """A mask of 0 and 1 for 4 x 6 x 6 values, without rows of zeros alone."""
    return Scale((np.random.default_rng(seed).random(144) < 0.7).astype(np.float64))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("kind", ["depthwise, pointwise", "three in a row", "beside an identity"])
def test_weights_in_a_row_share_the_levels(bits, kind):
    """With full width in the first, the last ones had none: all of their integers were 0, the more bits the surer."""
    rng = np.random.default_rng(3)
    one, two = conv(rng.normal(size=(4, 1, 3, 3)), groups=4), conv(rng.normal(size=(5, 4, 1, 1)))
    three = (
        conv(rng.normal(size=(4, 4, 3, 3))),
        conv(rng.normal(size=(4, 4, 3, 3))),
        conv(rng.normal(size=(4, 4, 3, 3))),
    )
    chain = three if kind == "three in a row" else (one, replace(two, weight=two.weight[:4]))
    beside = (Connection("a", "b", (Scale(np.ones(4)),)),) if kind == "beside an identity" else ()
    network = FloatNetwork(
        (
            Source("input", (4, 6, 6)),
            Activation("a", (4, 6, 6), np.zeros(4)),
            Activation("b", (4, 6, 6), rng.normal(size=4)),
            Output("out", (1,), np.zeros(1)),
        ),
        (
            Connection("input", "a", (Scale(np.ones(4)),)),
            Connection("a", "b", chain),
            *beside,
            Connection("b", "out", (Reshape((144,)), Linear(np.ones((1, 144))))),
        ),
    )
    netlist = quantize(spiking(network), Precision(bits))
    a, b = netlist["a"], netlist["b"]
    assert np.all(b.threshold <= 2**16)
    burst = rng.integers(0, 5, (200, 4, 6, 6))
    amplitude = (a.threshold * a.scale)[:, None, None]
    real = apply_chain(chain, burst * amplitude, (4, 6, 6))
    integer = apply_chain(netlist.inputs("b")[0].operators, burst, (4, 6, 6)) * b.scale[:, None, None]
    least = {"depthwise, pointwise": 0.999, "three in a row": 0.97, "beside an identity": 0.97}[kind]
    assert np.corrcoef(real.ravel(), integer.ravel())[0, 1] > least


def test_a_mask_takes_no_levels_and_channels_behind_it_share_a_unit():
    rng = np.random.default_rng(0)
    weight = conv(rng.normal(size=(5, 4, 3, 3)))
    chain = (Reshape((144,)), masked(1), Reshape((4, 6, 6)), weight)
    network = FloatNetwork(
        (
            Source("input", (4, 6, 6)),
            Activation("a", (4, 6, 6), np.zeros(4)),
            Activation("b", (5, 6, 6), np.zeros(5)),
            Output("out", (1,), np.zeros(1)),
        ),
        (
            Connection("input", "a", (Scale(np.ones(4)),)),
            Connection("a", "b", chain),
            Connection("b", "out", (Reshape((180,)), Linear(np.ones((1, 180))))),
        ),
    )
    netlist = quantize(spiking(network))
    _, mask, _, last = netlist.inputs("b")[0].operators
    assert np.array_equal(mask.weight, masked(1).weight)
    assert np.array_equal(np.abs(last.weight).max(axis=(1, 2, 3)), np.full(5, 127))


def test_channels_that_share_a_threshold_stand_for_exactly_the_same():
    rng = np.random.default_rng(0)
    network = FloatNetwork(
        (
            Source("input", (2, 4, 4)),
            Activation("a", (4, 4, 4), rng.normal(size=4)),
            Output("out", (2,), np.zeros(2)),
        ),
        (
            Connection(
                "input", "a", (conv(rng.normal(size=(4, 2, 3, 3)) * np.array([1, 0.1, 3, 1])[:, None, None, None]),)
            ),
            Connection(
                "a",
                "out",
                (
                    Reshape((2, 2, 16)),
                    SumPool((2, 1), (2, 1), ((0, 0), (0, 0))),
                    Reshape((32,)),
                    Linear(np.ones((2, 32))),
                ),
            ),
        ),
    )
    with pytest.raises(NetlistError, match="neurons with different thresholds meet"):
        quantize(spiking(network))
    alike = spiking(network, threshold=[0.3, 0.3, 0.7, 0.7])
    shared = shared_amplitudes(network)["a"]
    firing = {"a": replace(alike.firing["a"], shared=shared)}
    a = quantize(replace(alike, firing=firing))["a"]
    assert a.threshold[0] == a.threshold[1]
    assert a.scale[0] == a.scale[1]
    assert a.scale[1] != a.scale[2]


@pytest.mark.parametrize("target", ["speck", "xylo_audio2", "loihi1", "loihi2"])
@pytest.mark.parametrize("bias", [0.0, -3.0, 3.0])
def test_a_channel_without_weights_fits_every_target(target, bias):
    """Its threshold was 65,536 units, whatever the target's field."""
    weight = np.random.default_rng(0).normal(size=(3, 2, 3, 3))
    weight[1] = 0
    network = FloatNetwork(
        (
            Source("input", (2, 4, 4)),
            Activation("a", (3, 4, 4), np.array([0.1, bias, 0.0])),
            Output("out", (3,), np.zeros(3)),
        ),
        (
            Connection("input", "a", (conv(weight),)),
            Connection("a", "out", (Reshape((48,)), Linear(np.ones((3, 48))))),
        ),
    )
    chip = load_target(target)
    a = quantize(spiking(network, phi=1), Precision(8, chip))["a"]
    limit = largest_threshold(chip)
    assert limit is not None
    assert 1 <= a.threshold.min() <= a.threshold.max() <= limit
    assert np.sign(a.bias[1]) == np.sign(bias)
    tiny = replace(network, connections=(Connection("input", "a", (conv(weight * 1e-6),)), network.connections[1]))
    precision = Precision(8, chip)
    assert quantize(spiking(tiny, phi=1), precision)["a"].threshold.max() <= min(limit, precision.membrane_limit // 8)
