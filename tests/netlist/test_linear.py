"""Operators and bounds: numpy's definition against torch, the transpose, fan-out, and bounds that bound."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim import golden, kernels
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    ConvTranspose,
    Input,
    Linear,
    NetlistError,
    Pad,
    Permute,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    adjoint,
    apply,
    apply_chain,
    bound_current,
    bound_membrane,
    bound_partial_sums,
    chain_shapes,
    fan_out,
)
from toolchain.netlist.factored import Factored, backward, forward, full, multiplied
from toolchain.netlist.synapses import structure


@st.composite
def _convs(draw):
    axes = draw(st.integers(1, 2))
    groups, per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(axes))
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(axes))
    spatial = tuple((k - 1) * d + 1 + draw(st.integers(0, 5)) for k, d in zip(kernel, dilation, strict=True))
    weight = _weights(draw, (groups * per_out, per_in, *kernel))
    return Conv(weight, stride, padding, dilation, groups), (groups * per_in, *spatial)


@st.composite
def _transposed(draw):
    axes = draw(st.integers(1, 2))
    groups, per_in, per_out = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(2, 4)) for _ in range(axes))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    padding = tuple((draw(st.integers(0, 1)), draw(st.integers(-1, 1))) for _ in range(axes))
    spatial = tuple(draw(st.integers(2, 5)) for _ in range(axes))
    weight = _weights(draw, (groups * per_in, per_out, *kernel))
    return ConvTranspose(weight, stride, padding, groups), (groups * per_in, *spatial)


@st.composite
def _pools(draw):
    axes = draw(st.integers(1, 2))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    padding = tuple((draw(st.integers(0, 1)), draw(st.integers(0, 1))) for _ in range(axes))
    return SumPool(kernel, stride, padding), (draw(st.integers(1, 3)), *(k + draw(st.integers(0, 4)) for k in kernel))


@st.composite
def _others(draw):
    c, h, w = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    start = draw(st.integers(0, h - 1))
    return draw(
        st.sampled_from(
            [
                (Linear(_weights(draw, (draw(st.integers(1, 4)), c))), (c,)),
                (Scale(_weights(draw, (c,))), (c, h, w)),
                (Scale(_weights(draw, (c,))), (c,)),
                (Resample((_weights(draw, (h + 1, h)), _weights(draw, (2 * w, w)))), (c, h, w)),
                (Reshape((c * h, w)), (c, h, w)),
                (Permute((2, 0, 1)), (c, h, w)),
                (Slice(1, start, h, draw(st.integers(1, 3))), (c, h, w)),
                (Pad(((1, 0), (0, 2), (1, 1))), (c, h, w)),
            ]
        )
    )


def _weights(draw, shape):
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(-128, 128, shape)


operators = st.one_of(_convs(), _transposed(), _pools(), _others())
seeds = st.integers(0, 2**32 - 1)


def _random(seed, *shape):
    return np.random.default_rng(seed).integers(-20, 21, shape)


def _torch(operator, x):
    """The same operator written with torch's own functions, in float64."""
    t = torch.from_numpy(x.astype(np.float64))
    match operator:
        case Conv(weight, stride, padding, dilation, groups):
            t = F.pad(t, [n for pair in reversed(padding) for n in pair])
            conv = F.conv1d if weight.ndim == 3 else F.conv2d
            y = conv(t, torch.from_numpy(weight).double(), None, stride, 0, dilation, groups)
        case ConvTranspose(weight, stride, padding, groups):
            before = [a for a, _ in padding]
            extra, cut = [max(0, a - b) for a, b in padding], [max(0, b - a) for a, b in padding]
            conv = F.conv_transpose1d if weight.ndim == 3 else F.conv_transpose2d
            assume(all(s > e for s, e in zip(stride, extra, strict=True)))  # torch wants it so
            y = conv(t, torch.from_numpy(weight).double(), None, stride, before, extra, groups)
            for axis, n in enumerate(cut, start=2):
                y = y.narrow(axis, 0, y.shape[axis] - n)
        case Linear(weight):
            y = F.linear(t, torch.from_numpy(weight).double())
        case SumPool(kernel, stride, padding):
            t = F.pad(t, [n for pair in reversed(padding) for n in pair])
            pool = F.avg_pool1d if len(kernel) == 1 else F.avg_pool2d
            y = torch.round(pool(t, kernel, stride) * float(np.prod(kernel)))
        case _:
            y = kernels.apply(operator, t)
    return y.numpy()


@settings(max_examples=200)
@given(operators, seeds)
def test_the_definition_is_torch(case, seed):
    operator, shape = case
    x = _random(seed, 2, *shape)
    y = apply(operator, x, shape)
    assert y.dtype == np.int64
    assert y.shape == (2, *operator.output_shape(shape))
    np.testing.assert_array_equal(y, _torch(operator, x))
    kernel = kernels.apply(operator, torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_array_equal(kernel.numpy(), y)


@settings(max_examples=200)
@given(operators, seeds)
def test_adjoint_is_the_transpose(case, seed):
    operator, shape = case
    x, y = _random(seed, *shape), _random(seed + 1, *operator.output_shape(shape))
    assert (apply(operator, x, shape) * y).sum() == (x * adjoint(operator, y, shape)).sum()


@settings(max_examples=100)
@given(operators, seeds)
def test_batch_axes_are_independent(case, seed):
    operator, shape = case
    x = _random(seed, 2, 3, *shape)
    whole = apply(operator, x, shape)
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal(whole[i, j], apply(operator, x[i, j], shape))


def _factored(seed, shape):
    """A product of small integers per axis; of one axis sometimes all the same, as flattened counts are."""
    rng = np.random.default_rng(seed)
    same = len(shape) == 1 and rng.integers(2)
    return Factored(tuple(np.full(n, 3.0) if same else rng.integers(-3, 4, n).astype(np.float64) for n in shape))


@pytest.mark.parametrize("weights", ["their own", "one number"])
@settings(max_examples=200)
@given(case=operators, seed=seeds)
def test_products_of_axes_pass_operators_as_arrays_do(weights, case, seed):
    operator, shape = case
    if weights == "one number":
        operator = structure(operator)
    x, y = _factored(seed, shape), _factored(seed, operator.output_shape(shape))
    np.testing.assert_array_equal(multiplied(forward(operator, x, shape)), apply(operator, x.values, shape))
    np.testing.assert_array_equal(multiplied(backward(operator, y, shape)), adjoint(operator, y.values, shape))


def test_products_of_axes_stay_apart_where_nothing_mixes_them():
    """Counting the synapses of a big map multiplies nothing out: not through kernels of one number, nor a flatten."""
    chain = (
        Slice(1, 0, 40, 2),
        Pad(((1, 1), (0, 0), (0, 0))),
        Conv(np.ones((8, 4, 3, 3), np.int64), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
        SumPool((2, 2), (2, 2), ((0, 0), (0, 0))),
        Reshape((800,)),
        Linear(np.ones((10, 800), np.int64)),
    )
    shapes = chain_shapes(chain, (2, 40, 20))
    count = full((10,), 1.0)
    for operator, shape in zip(reversed(chain), reversed(shapes[:-1]), strict=True):
        count = backward(structure(operator), count, shape)
        assert isinstance(count, Factored)
    np.testing.assert_array_equal(count.values, fan_out(chain, (2, 40, 20)))


@settings(max_examples=50)
@given(st.one_of(_convs(), _transposed(), _pools(), _others()))
def test_fan_out_counts_the_targets_of_one_spike(case):
    """Set one neuron at a time and count the targets that its synapses reach."""
    operator, shape = case
    ones = operator
    if isinstance(operator, Conv):
        ones = Conv(
            np.ones_like(operator.weight), operator.stride, operator.padding, operator.dilation, operator.groups
        )
    elif isinstance(operator, ConvTranspose):
        ones = ConvTranspose(np.ones_like(operator.weight), operator.stride, operator.padding, operator.groups)
    elif isinstance(operator, Linear | Scale):
        ones = type(operator)(np.ones_like(operator.weight))
    elif isinstance(operator, Resample):
        ones = Resample(tuple((m != 0).astype(np.int64) for m in operator.matrices))
    counts = fan_out((operator,), shape)
    for index in np.ndindex(*shape):
        x = np.zeros(shape, np.int64)
        x[index] = 1
        assert counts[index] == np.count_nonzero(apply(ones, x, shape))


def test_fan_out_of_structural_zeros():
    """An option-A shortcut has no synapse where it skips a pixel; a zero weight is a synapse all the same."""
    chain = (Slice(1, 0, 4, 2), Slice(2, 0, 4, 2), Pad(((1, 1), (0, 0), (0, 0))), Scale(np.zeros(4, np.int64)))
    counts = fan_out(chain, (2, 4, 4))
    expected = np.zeros((2, 4, 4), np.int64)
    expected[:, ::2, ::2] = 1
    np.testing.assert_array_equal(counts, expected)


def _source(shape, signed, bits):
    return Input("input", shape, bits, signed, 1.0, np.zeros(shape[0]), np.ones(shape[0]))


@settings(max_examples=100)
@given(operators, st.booleans(), st.integers(2, 8))
def test_current_bounds_are_reached_and_never_left(case, signed, bits):
    """The input that drives one target up, found from the transpose, reaches the bound exactly."""
    operator, shape = case
    source = _source(shape, signed, bits)
    low, high = source.payload_range
    bound = bound_current(Connection("input", "x", (operator,)), source)
    rng = np.random.default_rng(0)
    y = apply(operator, rng.integers(low, high + 1, (8, *shape)), shape)
    assert (y >= bound.low).all()
    assert (y <= bound.high).all()
    out = operator.output_shape(shape)
    target = tuple(int(rng.integers(n)) for n in out)
    one = np.zeros(out, np.int64)
    one[target] = 1
    row = adjoint(operator, one, shape)
    assert apply(operator, np.where(row > 0, high, low), shape)[target] == bound.high[target]
    assert apply(operator, np.where(row > 0, low, high), shape)[target] == bound.low[target]


@settings(max_examples=100)
@given(_convs(), st.booleans(), seeds)
def test_partial_sums_stay_within_their_bound(case, signed, seed):
    """Any subset of the products of a convolution sums to less than the bound, in any order."""
    operator, shape = case
    source = _source(shape, signed, 8)
    bound = bound_partial_sums(Connection("input", "x", (operator,)), source)
    low, high = source.payload_range
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((4, *shape)) < 0.5, rng.integers(low, high + 1, (4, *shape)), 0)
    assert np.abs(apply(operator, x, shape)).max() <= bound
    magnitudes = Conv(np.abs(operator.weight), operator.stride, operator.padding, operator.dilation, operator.groups)
    assert apply(magnitudes, np.full(shape, max(-low, high)), shape).max() <= bound


def test_bounds_of_a_chain_multiply():
    chain = (SumPool((2, 2), (2, 2), ((0, 0), (0, 0))), Scale(np.array([-3, 5])))
    source = _source((2, 4, 4), False, 8)
    connection = Connection("input", "x", chain)
    bound = bound_current(connection, source)
    assert bound.low.min() == -3 * 4 * 255
    assert bound.high.max() == 5 * 4 * 255
    assert bound_partial_sums(connection, source) == 5 * 4 * 255


def test_bounds_that_no_float_carries_are_refused():
    chain = tuple(Scale(np.array([2**20])) for _ in range(3))
    with pytest.raises(NetlistError, match="2\\*\\*53"):
        bound_partial_sums(Connection("input", "x", chain), _source((1,), False, 8))


@settings(max_examples=60)
@given(seeds, st.integers(1, 8), st.integers(1, 15), st.booleans())
def test_membrane_bounds_hold(seed, timesteps, phi, signed):
    """No run leaves the bound of the membrane potential before firing, the extreme inputs included."""
    rng = np.random.default_rng(seed)
    source = _source((4,), signed, 3)
    weight = rng.integers(-128, 128, (3, 4))
    population = AdaFire(
        "a", (3,), phi, rng.integers(1, 500, 3), rng.integers(-200, 200, 3), rng.integers(-200, 200, 3), np.ones(3)
    )
    connection = Connection("input", "a", (Linear(weight),))
    bound = bound_membrane(population, [(connection, source)], timesteps)
    low, high = source.payload_range
    rows = np.where(weight > 0, high, low)
    for payloads in (*rows, *np.where(weight > 0, low, high), *rng.integers(low, high + 1, (8, 4))):
        potential = population.initial
        for t in range(timesteps):
            x = payloads if t % 3 else rng.integers(low, high + 1, 4)
            potential = potential + weight @ x + population.bias
            assert (bound.low <= potential).all()
            assert (potential <= bound.high).all()
            _, potential = golden.fire(potential, population.threshold, phi)


@settings(max_examples=60)
@given(_convs(), _pools())
def test_shapes_of_a_chain(conv, pool):
    operator, shape = conv
    shapes = chain_shapes((operator,), shape)
    assert shapes == (shape, operator.output_shape(shape))
    assert apply_chain((operator,), np.zeros((1, *shape), np.int64), shape).shape[1:] == shapes[-1]
    with pytest.raises(NetlistError):
        chain_shapes((pool[0], Linear(np.ones((2, 3), np.int64))), pool[1])
