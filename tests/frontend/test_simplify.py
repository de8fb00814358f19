"""Rewritten chains compute what they did: random chains, and what each rule is there for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.frontend.macs import dense_macs
from toolchain.frontend.parallel import join_parallel
from toolchain.frontend.simplify import simplify
from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    NetlistError,
    Pad,
    Permute,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    apply_chain,
    chain_shapes,
    fan_out,
)


def numbers(*shape):
    """The same weights for the same shape: hypothesis replays what it draws."""
    return np.random.default_rng(shape).standard_normal(shape)


@st.composite
def operator_for(draw, shape):
    """Draw one operator that fits a shape."""
    kinds = ["scale", "reshape", "slice", "pad", "permute"]
    kinds += ["conv", "transpose", "sum", "resample"] if len(shape) == 3 else []
    kinds += ["linear"] if len(shape) == 1 else []
    small = st.integers(0, 2)
    axes = len(shape) - 1
    match draw(st.sampled_from(kinds)):
        case "scale":
            uniform = draw(st.booleans())
            return Scale(np.full(shape[0], 0.25) if uniform else numbers(shape[0]))
        case "reshape":
            n = int(np.prod(shape))
            return Reshape(
                draw(
                    st.sampled_from([(n,), (shape[0], n // shape[0]), (1, *shape), shape, (shape[0], 1, n // shape[0])])
                )
            )
        case "slice":
            axis = draw(st.integers(0, axes))
            start = draw(st.integers(0, shape[axis] - 1))
            return Slice(axis, start, draw(st.integers(start + 1, shape[axis])), draw(st.integers(1, 3)))
        case "pad":
            channel = (draw(small), draw(small))
            spatial = draw(st.booleans())
            return Pad((channel, *((draw(small), draw(small)) if spatial else (0, 0) for _ in range(axes))))
        case "permute":
            return Permute(tuple(draw(st.permutations(range(len(shape))))))
        case "conv":
            groups = draw(st.sampled_from([g for g in (1, 2, 3, shape[0]) if shape[0] % g == 0]))
            out = groups * draw(st.integers(1, 2))
            kernel = draw(st.sampled_from([(1, 1), (2, 2), (3, 1)]))
            stride = (draw(st.integers(1, 2)), 1)
            padding = ((draw(small), draw(small)), (draw(small), 0))
            return Conv(
                numbers(out, shape[0] // groups, *kernel), stride, padding, (1, draw(st.integers(1, 2))), groups
            )
        case "transpose":
            groups = draw(st.sampled_from([1, shape[0]]))
            return ConvTranspose(numbers(shape[0], 2, 2, 2), (2, 1), ((0, 0), (0, 0)), groups)
        case "sum":
            return SumPool((2, 1), (draw(st.integers(1, 2)), 1), ((draw(st.integers(0, 1)), 0), (0, 0)))
        case "resample":
            return Resample(tuple(np.random.default_rng(n).integers(0, 3, (n + 1, n)) for n in shape[1:]))
        case _:
            return Linear(numbers(draw(st.integers(1, 4)), shape[0]))


@st.composite
def chains(draw, shape=None):
    start = shape or draw(st.sampled_from([(6, 4, 4), (4, 3, 5), (6,), (2, 6)]))
    current, operators = start, []
    for _ in range(draw(st.integers(1, 6))):
        operator = draw(operator_for(current))
        try:
            current = operator.output_shape(current)
        except NetlistError:  # a window that does not fit
            continue
        if len(current) > 4 or np.prod(current) > 3000:
            break
        operators.append(operator)
    return start, tuple(operators)


def values(shape):
    return np.random.default_rng(1).standard_normal((2, *shape))


@given(chains())
@settings(max_examples=400, deadline=None)
def test_a_simplified_chain_computes_the_same(drawn):
    shape, chain = drawn
    expected = apply_chain(chain, values(shape), shape)
    simple = simplify(chain, shape)
    if simple is None:
        assert not expected.any()
        return
    got = apply_chain(simple, values(shape), shape)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    again = simplify(simple, shape)
    assert again is not None
    assert list(map(type, again)) == list(map(type, simple))


@given(chains())
@settings(max_examples=100, deadline=None)
def test_macs_are_the_synapses_of_a_layer(drawn):
    shape, chain = drawn
    for operator, before in zip(chain, chain_shapes(chain, shape), strict=False):
        if isinstance(operator, Conv | ConvTranspose | Linear):
            assert dense_macs(operator, before) == fan_out((operator,), before).sum()


@given(chains())
@settings(max_examples=150, deadline=None)
def test_a_simplified_chain_has_no_more_synapses(drawn):
    shape, chain = drawn
    simple = simplify(chain, shape)
    if simple is not None:
        assert fan_out(simple, shape).sum() <= fan_out(chain, shape).sum()


@given(st.lists(chains(shape=(4, 4, 4)), min_size=2, max_size=3), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_joined_chains_have_the_same_sum(drawn, repeat):
    shape = (4, 4, 4)
    simple = [s for _, c in drawn if (s := simplify(c, shape)) is not None]
    out = {chain_shapes(s, shape)[-1] for s in simple}
    simple = [s for s in simple if chain_shapes(s, shape)[-1] == next(iter(out))] if simple else []
    simple += simple[:repeat]
    if not simple:
        return
    joined = join_parallel(simple, shape)
    expected = sum(apply_chain(s, values(shape), shape) for s in simple)
    got = sum(apply_chain(s, values(shape), shape) for s in joined)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    assert len(joined) == len(simple) - repeat or len(joined) < len(simple)


ONES, NONE = (1, 1), ((0, 0), (0, 0))


def conv(c_out, c_in, k, pad=0, stride=1, groups=1):
    return Conv(numbers(c_out, c_in // groups, k, k), (stride, stride), ((pad, pad),) * 2, ONES, groups)


#: (shape, chain, kinds after simplification)
RULES = {
    "norm folds into the convolution": ((3, 8, 8), (conv(4, 3, 3), Scale(numbers(4))), [Conv]),
    "input norm folds forwards": ((3, 8, 8), (Scale(numbers(3)), conv(4, 3, 3)), [Conv]),
    "average folds into the convolution behind": (
        (4, 8, 8),
        (SumPool((2, 2), (2, 2), NONE), Scale(np.full(4, 0.25)), conv(2, 4, 1)),
        [SumPool, Conv],
    ),
    "average folds into the convolution before": (
        (4, 8, 8),
        (conv(4, 4, 1), SumPool((2, 2), (2, 2), NONE), Scale(np.full(4, 0.25))),
        [Conv, SumPool],
    ),
    "average folds through a flatten": (
        (4, 8, 8),
        (SumPool((8, 8), (8, 8), NONE), Scale(np.full(4, 1 / 64)), Reshape((4,)), Linear(numbers(2, 4))),
        [SumPool, Reshape, Linear],
    ),
    "norm folds through a flatten": (
        (4, 2, 2),
        (Scale(numbers(4)), Reshape((16,)), Linear(numbers(2, 16))),
        [Reshape, Linear],
    ),
    "concat reads a slice of the weights": ((4, 8, 8), (Pad(((2, 1), *NONE)), conv(2, 7, 3)), [Conv]),
    "concat through a flatten": (
        (4, 2, 2),
        (Pad(((2, 1), *NONE)), Reshape((28,)), Linear(numbers(3, 28))),
        [Reshape, Linear],
    ),
    "concat into depthwise": ((4, 8, 8), (Pad(((2, 0), *NONE)), conv(6, 6, 3, groups=6), conv(5, 6, 1)), [Conv, Conv]),
    "zero padding becomes the convolution's": ((3, 8, 8), (Pad(((0, 0), (1, 2), (0, 3))), conv(4, 3, 3)), [Conv]),
    "chunk of a convolution": ((3, 8, 8), (conv(8, 3, 3), Slice(0, 4, 8)), [Conv]),
    "slices join": ((3, 8, 8), (Slice(1, 1, 8, 2), Slice(1, 1, 3)), [Slice]),
    "option A stays structural": (
        (4, 8, 8),
        (Slice(1, 0, 8, 2), Slice(2, 0, 8, 2), Pad(((2, 2), *NONE)), Scale(np.ones(8))),
        [Slice, Slice, Pad, Scale],
    ),
    "reshapes join": ((4, 2, 2), (Reshape((16,)), Reshape((4, 4)), Reshape((4, 2, 2))), []),
    "permutes cancel": ((4, 2, 3), (Permute((1, 2, 0)), Permute((2, 0, 1))), []),
    "pointwise convolutions compose": ((4, 5, 5), (conv(6, 4, 1), conv(3, 6, 3, pad=1)), [Conv]),
    "padded convolutions do not compose": ((4, 5, 5), (conv(6, 4, 3), conv(3, 6, 3, pad=1)), [Conv, Conv]),
    "linear layers compose": ((4,), (Linear(numbers(6, 4)), Linear(numbers(2, 6))), [Linear]),
}


@pytest.mark.parametrize("name", RULES)
def test_rule(name):
    shape, chain, kinds = RULES[name]
    simple = simplify(chain, shape)
    assert simple is not None
    assert list(map(type, simple)) == kinds
    np.testing.assert_allclose(
        apply_chain(simple, values(shape), shape), apply_chain(chain, values(shape), shape), atol=1e-9
    )


def test_a_slice_of_padding_is_nothing():
    assert simplify((Pad(((2, 3), *NONE)), Slice(0, 6, 9)), (4, 5, 5)) is None


PARALLEL = {
    "3x3 and 1x1": ([(conv(4, 4, 3, pad=1),), (conv(4, 4, 1),)], 1),
    "3x3 and identity": ([(conv(4, 4, 3, pad=1),), ()], 1),
    "depthwise and scale": ([(conv(4, 4, 3, pad=1, groups=4),), (Scale(numbers(4)),)], 1),
    "grouped and identity": ([(conv(4, 4, 3, pad=1, groups=2),), ()], 1),
    "strided and 1x1": ([(conv(4, 4, 3, pad=1, stride=2),), (conv(4, 4, 1, stride=2),)], 1),
    "pad that moves the pixels": ([(conv(4, 4, 3),), (conv(4, 4, 1), Slice(1, 0, 6), Slice(2, 0, 6))], 2),
    "equal paths": ([(SumPool((2, 2), (2, 2), NONE),), (SumPool((2, 2), (2, 2), NONE),)], 1),
    "different groups": ([(conv(4, 4, 3, pad=1, groups=2),), (conv(4, 4, 3, pad=1),)], 2),
}


@pytest.mark.parametrize("name", PARALLEL)
def test_parallel_paths(name):
    chains_, count = PARALLEL[name]
    shape = (4, 8, 8)
    joined = join_parallel(chains_, shape)
    assert len(joined) == count
    expected = sum(apply_chain(c, values(shape), shape) for c in chains_)
    np.testing.assert_allclose(sum(apply_chain(c, values(shape), shape) for c in joined), expected, atol=1e-9)
