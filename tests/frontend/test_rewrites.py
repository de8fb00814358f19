"""Rewritten chains compute what they did: each rule alone, random chains, and what the rules are there for."""

from dataclasses import replace

import numpy as np
import pytest
from chain_text import chain_text
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toolchain.frontend.rewrites import RULES, SUM_RULES, Zero, join_parallel, simplify
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
    Weighted,
    apply_chain,
    chain_shapes,
    dense_macs,
    fan_out,
    padded_macs,
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


def assert_equal_maps(rewritten, chain, shape):
    expected = apply_chain(chain, values(shape), shape)
    if isinstance(rewritten, Zero):
        assert not expected.any()
    else:
        got = apply_chain(rewritten, values(shape), shape)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@given(chains())
@settings(max_examples=200)
def test_every_rule_is_an_identity_wherever_it_applies(drawn):
    shape, chain = drawn
    shapes = chain_shapes(chain, shape)
    for position in range(len(chain)):
        for rule in RULES:
            rewritten = rule.rewrite(chain, position, shapes)
            if rewritten is not None:
                assert_equal_maps(rewritten, chain, shape)


@given(chains())
@settings(max_examples=400)
def test_a_simplified_chain_computes_the_same(drawn):
    shape, chain = drawn
    assert_equal_maps(simplify(chain, shape), chain, shape)


@given(chains())
@settings(max_examples=200)
def test_no_rule_applies_to_a_simplified_chain(drawn):
    shape, chain = drawn
    simple = simplify(chain, shape)
    assume(not isinstance(simple, Zero))
    assert simplify(simple, shape) is simple


@given(chains())
@settings(max_examples=100)
def test_macs_are_the_synapses_of_a_layer(drawn):
    shape, chain = drawn
    layers = [(o, n) for o, n in zip(chain, chain_shapes(chain, shape), strict=False) if not isinstance(o, Scale)]
    layers = [(o, n) for o, n in layers if isinstance(o, Weighted)]
    assume(layers)
    for operator, before in layers:
        assert dense_macs(operator, before) == fan_out((operator,), before).sum() <= padded_macs(operator, before)


@given(chains())
@settings(max_examples=150)
def test_a_simplified_chain_has_no_more_synapses(drawn):
    shape, chain = drawn
    simple = simplify(chain, shape)
    assume(not isinstance(simple, Zero))
    assert fan_out(simple, shape).sum() <= fan_out(chain, shape).sum()


@given(st.lists(chains(shape=(4, 4, 4)), min_size=2, max_size=3), st.integers(0, 2))
@settings(max_examples=100)
def test_joined_chains_have_the_same_sum(drawn, repeat):
    shape = (4, 4, 4)
    simple = [s for _, c in drawn if not isinstance(s := simplify(c, shape), Zero)]
    assume(simple)
    out = chain_shapes(simple[0], shape)[-1]
    distinct = [s for s in simple if chain_shapes(s, shape)[-1] == out]
    parallel = distinct + distinct[:repeat]
    joined = join_parallel(parallel, shape)
    expected = sum(apply_chain(s, values(shape), shape) for s in parallel)
    got = sum(apply_chain(s, values(shape), shape) for s in joined)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    assert len(joined) <= len(distinct)


ONES, NONE = (1, 1), ((0, 0), (0, 0))


def conv(c_out, c_in, k, pad=0, stride=1, groups=1):
    return Conv(numbers(c_out, c_in // groups, k, k), (stride, stride), ((pad, pad),) * 2, ONES, groups)


def transposed(c_in, per_group, k, groups=1):
    return ConvTranspose(numbers(c_in, per_group, k, k), (2, 2), NONE, groups)


def scale(*factors):
    return Scale(np.array(factors, dtype=np.float64))


POOL = SumPool((2, 2), (2, 2), NONE)
TWICE = Resample((np.eye(4, dtype=np.int64).repeat(2, axis=0),) * 2)
MAP = (4, 4, 4)
#: (rule, shape, chain, its text, the text of what the rule makes of it at the first operator that it fits)
REWRITTEN = [
    ("identity", MAP, (Pad(((0, 0), *NONE)),), "Pad(0 0 0)", "identity"),
    (
        "identity",
        MAP,
        (Slice(1, 0, 4), POOL),
        "Slice(axis 1, 0:4) -> SumPool(2x2, stride 2x2)",
        "SumPool(2x2, stride 2x2)",
    ),
    ("identity", MAP, (Reshape(MAP),), "Reshape(4x4x4)", "identity"),
    ("identity", MAP, (Permute((0, 1, 2)),), "Permute(0 1 2)", "identity"),
    ("identity", MAP, (SumPool((1, 1), (1, 1), NONE),), "SumPool(1x1)", "identity"),
    (
        "scale into the weight before",
        MAP,
        (conv(3, 4, 3), POOL, Scale(numbers(3))),
        "Conv(3x4x3x3) -> SumPool(2x2, stride 2x2) -> Scale(3)",
        "Conv(3x4x3x3) -> SumPool(2x2, stride 2x2)",
    ),
    (
        "scale into the weight before",
        MAP,
        (conv(6, 4, 3), Slice(0, 1, 6, 2), Pad(((1, 1), *NONE)), Reshape((10, 2)), scale(*[3] * 2, *[5] * 8)),
        "Conv(6x4x3x3) -> Slice(axis 0, 1:6:2) -> Pad(1 0 0) -> Reshape(10x2) -> Scale(10)",
        "Conv(6x4x3x3) -> Slice(axis 0, 1:6:2) -> Pad(1 0 0) -> Reshape(10x2)",
    ),
    (
        "scale into the weight before",
        MAP,
        (transposed(4, 2, 2, groups=2), Scale(numbers(4))),
        "ConvTranspose(4x2x2x2, stride 2x2, groups 2) -> Scale(4)",
        "ConvTranspose(4x2x2x2, stride 2x2, groups 2)",
    ),
    ("scale into the weight before", (3,), (Scale(numbers(3)), scale(2, 3, 4)), "Scale(3) -> Scale(3)", "Scale(3)"),
    (
        "scale into the weight behind",
        MAP,
        (Scale(numbers(4)), Permute((0, 2, 1)), conv(4, 4, 3, groups=2)),
        "Scale(4) -> Permute(0 2 1) -> Conv(4x2x3x3, groups 2)",
        "Permute(0 2 1) -> Conv(4x2x3x3, groups 2)",
    ),
    (
        "scale into the weight behind",
        (3, 2, 2),
        (Scale(numbers(3)), Slice(0, 1, 3), Pad(((1, 0), *NONE)), Reshape((12,)), Linear(numbers(2, 12))),
        "Scale(3) -> Slice(axis 0, 1:3) -> Pad(1+0 0 0) -> Reshape(12) -> Linear(2x12)",
        "Slice(axis 0, 1:3) -> Pad(1+0 0 0) -> Reshape(12) -> Linear(2x12)",
    ),
    (
        "scale into the weight behind",
        MAP,
        (Scale(numbers(4)), transposed(4, 2, 2)),
        "Scale(4) -> ConvTranspose(4x2x2x2, stride 2x2)",
        "ConvTranspose(4x2x2x2, stride 2x2)",
    ),
    (
        "scale before a move",
        MAP,
        (Scale(numbers(4)), POOL),
        "Scale(4) -> SumPool(2x2, stride 2x2)",
        "SumPool(2x2, stride 2x2) -> Scale(4)",
    ),
    (
        "scale before a move",
        MAP,
        (Scale(numbers(4)), TWICE),
        "Scale(4) -> Resample(8x4 8x4)",
        "Resample(8x4 8x4) -> Scale(4)",
    ),
    (
        "scale before a move",
        MAP,
        (Scale(numbers(4)), Pad(((1, 2), *NONE))),
        "Scale(4) -> Pad(1+2 0 0)",
        "Pad(1+2 0 0) -> Scale(7)",
    ),
    (
        "scale before a move",
        MAP,
        (Scale(numbers(4)), Reshape((64,))),
        "Scale(4) -> Reshape(64)",
        "Reshape(64) -> Scale(64)",
    ),
    (
        "scale before a move",
        MAP,
        (scale(2, 2, 2, 2), Permute((1, 0, 2))),
        "Scale(4) -> Permute(1 0 2)",
        "Permute(1 0 2) -> Scale(4)",
    ),
    (
        "slice of a slice",
        (20,),
        (Slice(0, 3, 18, 2), Slice(0, 1, 8, 3)),
        "Slice(axis 0, 3:18:2) -> Slice(axis 0, 1:8:3)",
        "Slice(axis 0, 5:18:6)",
    ),
    (
        "slice beside a pad",
        MAP,
        (Pad(((1, 0), (0, 0), (2, 2))), Slice(1, 0, 4, 3)),
        "Pad(1+0 0 2) -> Slice(axis 1, 0:4:3)",
        "Slice(axis 1, 0:4:3) -> Pad(1+0 0 2)",
    ),
    (
        "slice of a pad",
        MAP,
        (Pad(((2, 3), (1, 0), (0, 0))), Slice(0, 1, 4)),
        "Pad(2+3 1+0 0) -> Slice(axis 0, 1:4)",
        "Slice(axis 0, 0:2) -> Pad(1+0 1+0 0)",
    ),
    (
        "slice of a pad",
        MAP,
        (Pad(((2, 3), *NONE)), Slice(0, 3, 8)),
        "Pad(2+3 0 0) -> Slice(axis 0, 3:8)",
        "Slice(axis 0, 1:4) -> Pad(0+2 0 0)",
    ),
    ("slice of a pad", MAP, (Pad(((2, 3), *NONE)), Slice(0, 6, 9)), "Pad(2+3 0 0) -> Slice(axis 0, 6:9)", "zero"),
    ("slice of a pad", MAP, (Pad(((2, 3), *NONE)), Slice(0, 0, 2)), "Pad(2+3 0 0) -> Slice(axis 0, 0:2)", "zero"),
    (
        "slice of a scale",
        MAP,
        (Scale(numbers(4)), Slice(0, 1, 4, 2)),
        "Scale(4) -> Slice(axis 0, 1:4:2)",
        "Slice(axis 0, 1:4:2) -> Scale(2)",
    ),
    (
        "slice of a scale",
        MAP,
        (Scale(numbers(4)), Slice(2, 1, 4)),
        "Scale(4) -> Slice(axis 2, 1:4)",
        "Slice(axis 2, 1:4) -> Scale(4)",
    ),
    (
        "slice of a permutation",
        MAP,
        (Permute((2, 0, 1)), Slice(0, 1, 3)),
        "Permute(2 0 1) -> Slice(axis 0, 1:3)",
        "Slice(axis 2, 1:3) -> Permute(2 0 1)",
    ),
    (
        "slice of a channelwise sum",
        MAP,
        (POOL, Slice(0, 1, 3)),
        "SumPool(2x2, stride 2x2) -> Slice(axis 0, 1:3)",
        "Slice(axis 0, 1:3) -> SumPool(2x2, stride 2x2)",
    ),
    (
        "slice of a channelwise sum",
        MAP,
        (TWICE, Slice(0, 1, 3)),
        "Resample(8x4 8x4) -> Slice(axis 0, 1:3)",
        "Slice(axis 0, 1:3) -> Resample(8x4 8x4)",
    ),
    (
        "slice of a matrix",
        (3,),
        (Linear(numbers(6, 3)), Slice(0, 1, 6, 2)),
        "Linear(6x3) -> Slice(axis 0, 1:6:2)",
        "Linear(3x3)",
    ),
    (
        "slice of a convolution",
        MAP,
        (conv(6, 4, 3, pad=1), Slice(0, 1, 6, 2)),
        "Conv(6x4x3x3, pad 1 1) -> Slice(axis 0, 1:6:2)",
        "Conv(3x4x3x3, pad 1 1)",
    ),
    (
        "slice of a grouped convolution",
        MAP,
        (conv(8, 4, 3, groups=4), Slice(0, 2, 6)),
        "Conv(8x1x3x3, groups 4) -> Slice(axis 0, 2:6)",
        "Slice(axis 0, 1:3) -> Conv(4x1x3x3, groups 2)",
    ),
    (
        "slice of a transposed convolution",
        MAP,
        (transposed(4, 6, 2), Slice(0, 2, 6)),
        "ConvTranspose(4x6x2x2, stride 2x2) -> Slice(axis 0, 2:6)",
        "ConvTranspose(4x4x2x2, stride 2x2)",
    ),
    (
        "pad of a pad",
        (4, 3),
        (Pad(((1, 2), (3, 4))), Pad(((5, 6), (0, 1)))),
        "Pad(1+2 3+4) -> Pad(5+6 0+1)",
        "Pad(6+8 3+5)",
    ),
    (
        "pad before a permutation",
        (4, 3, 2),
        (Pad(((1, 2), (0, 0), (3, 4))), Permute((1, 2, 0))),
        "Pad(1+2 0 3+4) -> Permute(1 2 0)",
        "Permute(1 2 0) -> Pad(0 3+4 1+2)",
    ),
    (
        "pad before a reshape",
        (4, 2, 2),
        (Pad(((2, 1), *NONE)), Reshape((28,))),
        "Pad(2+1 0 0) -> Reshape(28)",
        "Reshape(16) -> Pad(8+4)",
    ),
    (
        "pad before a reshape",
        (4, 2),
        (Pad(((2, 0), (0, 0))), Reshape((3, 2, 2))),
        "Pad(2+0 0) -> Reshape(3x2x2)",
        "Reshape(2x2x2) -> Pad(1+0 0 0)",
    ),
    ("pad before a matrix", (4,), (Pad(((2, 1),)), Linear(numbers(3, 7))), "Pad(2+1) -> Linear(3x7)", "Linear(3x4)"),
    (
        "pad before windows",
        MAP,
        (Pad(((1, 2), (3, 4), (0, 1))), SumPool((2, 2), (1, 1), ((1, 0), (0, 1)))),
        "Pad(1+2 3+4 0+1) -> SumPool(2x2, pad 1+0 0+1)",
        "SumPool(2x2, pad 4 0+2) -> Pad(1+2 0 0)",
    ),
    (
        "pad before a resampling",
        MAP,
        (Pad(((1, 2), *NONE)), TWICE),
        "Pad(1+2 0 0) -> Resample(8x4 8x4)",
        "Resample(8x4 8x4) -> Pad(1+2 0 0)",
    ),
    (
        "pad before a convolution",
        MAP,
        (Pad(((1, 2), (3, 4), (0, 1))), conv(5, 7, 3, pad=1, stride=2)),
        "Pad(1+2 3+4 0+1) -> Conv(5x7x3x3, pad 1 1, stride 2x2)",
        "Conv(5x4x3x3, pad 4+5 1+2, stride 2x2)",
    ),
    (
        "pad before whole groups",
        MAP,
        (Pad(((2, 4), (1, 0), (0, 0))), conv(15, 10, 3, groups=5)),
        "Pad(2+4 1+0 0) -> Conv(15x2x3x3, groups 5)",
        "Conv(6x2x3x3, pad 1+0 0, groups 2) -> Pad(3+6 0 0)",
    ),
    (
        "spatial pad before groups",
        MAP,
        (Pad(((1, 1), (1, 0), (0, 2))), conv(3, 6, 3, pad=1, groups=3)),
        "Pad(1 1+0 0+2) -> Conv(3x2x3x3, pad 1 1, groups 3)",
        "Pad(1 0 0) -> Conv(3x2x3x3, pad 2+1 1+3, groups 3)",
    ),
    (
        "pad before a transposed convolution",
        MAP,
        (Pad(((1, 2), *NONE)), transposed(7, 3, 2)),
        "Pad(1+2 0 0) -> ConvTranspose(7x3x2x2, stride 2x2)",
        "ConvTranspose(4x3x2x2, stride 2x2)",
    ),
    ("reshape of a reshape", MAP, (Reshape((64,)), Reshape((8, 8))), "Reshape(64) -> Reshape(8x8)", "Reshape(8x8)"),
    (
        "permutation of a permutation",
        (2, 3, 4),
        (Permute((1, 2, 0)), Permute((1, 0, 2))),
        "Permute(1 2 0) -> Permute(1 0 2)",
        "Permute(2 1 0)",
    ),
    (
        "matrix of a matrix",
        (4,),
        (Linear(numbers(6, 4)), Linear(numbers(2, 6))),
        "Linear(6x4) -> Linear(2x6)",
        "Linear(2x4)",
    ),
    (
        "convolution of a pointwise one",
        MAP,
        (conv(6, 4, 1), conv(3, 6, 3, pad=1, stride=2)),
        "Conv(6x4x1x1) -> Conv(3x6x3x3, pad 1 1, stride 2x2)",
        "Conv(3x4x3x3, pad 1 1, stride 2x2)",
    ),
    (
        "pointwise convolution",
        (4, 8, 8),
        (conv(6, 4, 3, pad=1, stride=2), conv(3, 6, 1, stride=3)),
        "Conv(6x4x3x3, pad 1 1, stride 2x2) -> Conv(3x6x1x1, stride 3x3)",
        "Conv(3x4x3x3, pad 1 1, stride 6x6)",
    ),
    (
        "convolution of a convolution",
        (3, 8, 8),
        (conv(5, 3, 3, pad=1), conv(4, 5, 3)),
        "Conv(5x3x3x3, pad 1 1) -> Conv(4x5x3x3)",
        "Conv(4x3x5x5, pad 1 1)",
    ),
    (
        "convolution of a convolution",
        (4, 9, 9),
        (conv(4, 4, 3, stride=2, groups=4), conv(6, 4, 2, stride=2, groups=2)),
        "Conv(4x1x3x3, stride 2x2, groups 4) -> Conv(6x2x2x2, stride 2x2, groups 2)",
        "Conv(6x2x5x5, stride 4x4, groups 2)",
    ),
    (
        "convolution of a convolution",
        (3, 9, 9),
        (replace(conv(4, 3, 2), dilation=(4, 2)), replace(conv(2, 4, 2), dilation=(2, 4))),
        "Conv(4x3x2x2, dilation 4x2) -> Conv(2x4x2x2, dilation 2x4)",
        "Conv(2x3x4x4, dilation 2x2)",
    ),
    (
        "convolution of a convolution",
        MAP,
        (conv(6, 4, 1), conv(6, 6, 3, pad=1, groups=6)),
        "Conv(6x4x1x1) -> Conv(6x1x3x3, pad 1 1, groups 6)",
        "Conv(6x4x3x3, pad 1 1)",
    ),
    (
        "transposed convolution of a pointwise one",
        MAP,
        (conv(6, 4, 1), transposed(6, 3, 2)),
        "Conv(6x4x1x1) -> ConvTranspose(6x3x2x2, stride 2x2)",
        "ConvTranspose(4x3x2x2, stride 2x2)",
    ),
    (
        "convolution of a transposed one",
        MAP,
        (transposed(4, 6, 2), conv(3, 6, 3, pad=1)),
        "ConvTranspose(4x6x2x2, stride 2x2) -> Conv(3x6x3x3, pad 1 1)",
        "ConvTranspose(4x3x4x4, pad 1 1, stride 2x2)",
    ),
    (
        "convolution of a transposed one",
        MAP,
        (replace(transposed(4, 6, 4), padding=((1, 1), (1, 0))), conv(3, 6, 1)),
        "ConvTranspose(4x6x4x4, pad 1 1+0, stride 2x2) -> Conv(3x6x1x1)",
        "ConvTranspose(4x3x4x4, pad 1 1+0, stride 2x2)",
    ),
    (
        "matrix behind a weight",
        MAP,
        (conv(6, 4, 3, pad=1), POOL, Reshape((24,)), Linear(numbers(5, 24))),
        "Conv(6x4x3x3, pad 1 1) -> SumPool(2x2, stride 2x2) -> Reshape(24) -> Linear(5x24)",
        "Reshape(64) -> Linear(5x64)",
    ),
    (
        "matrix behind a weight",
        MAP,
        (transposed(4, 2, 2), Reshape((128,)), Linear(numbers(3, 128))),
        "ConvTranspose(4x2x2x2, stride 2x2) -> Reshape(128) -> Linear(3x128)",
        "Reshape(64) -> Linear(3x64)",
    ),
]
NAMED = {rule.name: rule for rule in RULES}


def rewrite_once(name, chain, shape):
    """What a rule makes of a chain at the first operator that it fits; None where it fits none."""
    shapes = chain_shapes(chain, shape)
    rewritten = (NAMED[name].rewrite(chain, i, shapes) for i in range(len(chain)))
    return next((r for r in rewritten if r is not None), None)


@pytest.mark.parametrize(("name", "shape", "chain", "before", "after"), REWRITTEN)
def test_what_a_rule_makes_of_a_chain(name, shape, chain, before, after):
    rewritten = rewrite_once(name, chain, shape)
    assert (chain_text(chain), chain_text(rewritten)) == (before, after)
    assert_equal_maps(rewritten, chain, shape)


#: (rule, shape, the text of a chain of its operators that it leaves alone, the chain)
LEFT_ALONE = [
    ("identity", MAP, "Reshape(64)", (Reshape((64,)),)),
    ("identity", MAP, "Pad(0 0+1 0)", (Pad(((0, 0), (0, 1), (0, 0))),)),
    ("identity", MAP, "Slice(axis 1, 0:3)", (Slice(1, 0, 3),)),
    ("identity", MAP, "Slice(axis 1, 0:4:2)", (Slice(1, 0, 4, 2),)),
    ("identity", MAP, "Permute(0 2 1)", (Permute((0, 2, 1)),)),
    ("identity", MAP, "SumPool(1x1, stride 2x2)", (SumPool((1, 1), (2, 2), NONE),)),
    ("identity", MAP, "SumPool(1x1, pad 1+0 0)", (SumPool((1, 1), ONES, ((1, 0), (0, 0))),)),
    ("scale into the weight before", MAP, "SumPool(2x2, stride 2x2) -> Scale(4)", (POOL, Scale(numbers(4)))),
    (
        "scale into the weight before",
        MAP,
        "Conv(3x4x3x3) -> Reshape(12) -> Scale(12)",
        (conv(3, 4, 3), Reshape((12,)), Scale(numbers(12))),
    ),
    (
        "scale into the weight behind",
        (4, 3),
        "Scale(4) -> Permute(1 0) -> Scale(3)",
        (Scale(numbers(4)), Permute((1, 0)), Scale(numbers(3))),
    ),
    ("scale before a move", (4, 3), "Scale(4) -> Permute(1 0)", (Scale(numbers(4)), Permute((1, 0)))),
    ("slice of a slice", MAP, "Slice(axis 1, 1:4) -> Slice(axis 2, 1:4)", (Slice(1, 1, 4), Slice(2, 1, 4))),
    ("slice beside a pad", (4, 4), "Pad(0+1 0) -> Slice(axis 0, 0:4)", (Pad(((0, 1), (0, 0))), Slice(0, 0, 4))),
    ("slice of a pad", (4,), "Pad(1) -> Slice(axis 0, 0:5:2)", (Pad(((1, 1),)), Slice(0, 0, 5, 2))),
    ("slice of a channelwise sum", MAP, "SumPool(2x2, stride 2x2) -> Slice(axis 1, 0:1)", (POOL, Slice(1, 0, 1))),
    ("slice of a convolution", MAP, "Conv(3x4x3x3) -> Slice(axis 1, 0:1)", (conv(3, 4, 3), Slice(1, 0, 1))),
    (
        "slice of a convolution",
        MAP,
        "Conv(8x1x3x3, groups 4) -> Slice(axis 0, 2:6)",
        (conv(8, 4, 3, groups=4), Slice(0, 2, 6)),
    ),
    *(
        ("slice of a grouped convolution", MAP, f"Conv(8x1x3x3, groups 4) -> {text}", (conv(8, 4, 3, groups=4), cut))
        for text, cut in (
            ("Slice(axis 1, 0:2)", Slice(1, 0, 2)),
            ("Slice(axis 0, 1:4)", Slice(0, 1, 4)),
            ("Slice(axis 0, 2:5)", Slice(0, 2, 5)),
            ("Slice(axis 0, 2:6:2)", Slice(0, 2, 6, 2)),
        )
    ),
    (
        "slice of a transposed convolution",
        MAP,
        "ConvTranspose(4x2x2x2, stride 2x2, groups 2) -> Slice(axis 0, 0:2)",
        (transposed(4, 2, 2, groups=2), Slice(0, 0, 2)),
    ),
    ("pad before a reshape", (4, 4), "Pad(0 1) -> Reshape(24)", (Pad(((0, 0), (1, 1))), Reshape((24,)))),
    ("pad before a reshape", (4, 2), "Pad(1 0) -> Reshape(3x4)", (Pad(((1, 1), (0, 0))), Reshape((3, 4)))),
    ("pad before a reshape", (3, 2), "Pad(2+1 0) -> Reshape(3x4)", (Pad(((2, 1), (0, 0))), Reshape((3, 4)))),
    ("pad before a resampling", (4, 4, 2), "Pad(0 0 1) -> Resample(8x4 8x4)", (Pad(((0, 0), (0, 0), (1, 1))), TWICE)),
    (
        "pad before a convolution",
        MAP,
        "Pad(2+0 0 0) -> Conv(6x1x3x3, groups 6)",
        (Pad(((2, 0), *NONE)), conv(6, 6, 3, groups=6)),
    ),
    (
        "pad before whole groups",
        MAP,
        "Pad(1 0 0) -> Conv(3x2x3x3, groups 3)",
        (Pad(((1, 1), *NONE)), conv(3, 6, 3, groups=3)),
    ),
    (
        "pad before whole groups",
        (3, 4, 4),
        "Pad(2+1 0 0) -> Conv(3x2x3x3, groups 3)",
        (Pad(((2, 1), *NONE)), conv(3, 6, 3, groups=3)),
    ),
    (
        "spatial pad before groups",
        MAP,
        "Pad(1 0 0) -> Conv(3x2x3x3, groups 3)",
        (Pad(((1, 1), *NONE)), conv(3, 6, 3, groups=3)),
    ),
    (
        "pad before a transposed convolution",
        MAP,
        "Pad(0 1 1) -> ConvTranspose(4x2x2x2, stride 2x2)",
        (Pad(((0, 0), (1, 1), (1, 1))), transposed(4, 2, 2)),
    ),
    ("convolution of a pointwise one", MAP, "Conv(6x4x3x3) -> Conv(3x6x1x1)", (conv(6, 4, 3), conv(3, 6, 1))),
    (
        "convolution of a pointwise one",
        MAP,
        "Conv(6x4x1x1, stride 2x2) -> Conv(3x6x2x2)",
        (conv(6, 4, 1, stride=2), conv(3, 6, 2)),
    ),
    (
        "convolution of a pointwise one",
        MAP,
        "Conv(6x4x1x1, pad 1 1) -> Conv(3x6x2x2)",
        (conv(6, 4, 1, pad=1), conv(3, 6, 2)),
    ),
    (
        "convolution of a pointwise one",
        MAP,
        "Conv(4x2x1x1, groups 2) -> Conv(3x4x2x2)",
        (conv(4, 4, 1, groups=2), conv(3, 4, 2)),
    ),
    ("pointwise convolution", MAP, "Conv(6x4x1x1) -> Conv(3x6x2x2)", (conv(6, 4, 1), conv(3, 6, 2))),
    ("pointwise convolution", MAP, "Conv(6x4x3x3) -> Conv(3x6x1x1, pad 1 1)", (conv(6, 4, 3), conv(3, 6, 1, pad=1))),
    (
        "pointwise convolution",
        MAP,
        "Conv(6x4x3x3) -> Conv(6x3x1x1, groups 2)",
        (conv(6, 4, 3), conv(6, 6, 1, groups=2)),
    ),
    (
        "convolution of a convolution",
        MAP,
        "Conv(6x4x3x3, pad 1 1) -> Conv(3x6x3x3, pad 1 1)",
        (conv(6, 4, 3, pad=1), conv(3, 6, 3, pad=1)),
    ),
    (  # 32,768 numbers for 4,864
        "convolution of a convolution",
        (64, 3, 3),
        "Conv(64x1x2x2, groups 64) -> Conv(128x64x1x1)",
        (conv(64, 64, 2, groups=64), conv(128, 64, 1)),
    ),
    (
        "transposed convolution of a pointwise one",
        MAP,
        "Conv(6x4x1x1, stride 2x2) -> ConvTranspose(6x3x2x2, stride 2x2)",
        (conv(6, 4, 1, stride=2), transposed(6, 3, 2)),
    ),
    (
        "convolution of a transposed one",
        MAP,
        "ConvTranspose(4x6x4x4, pad 1 1, stride 2x2) -> Conv(3x6x3x3, pad 1 1)",
        (replace(transposed(4, 6, 4), padding=((1, 1), (1, 1))), conv(3, 6, 3, pad=1)),
    ),
    (  # a pixel in four is read: a matrix from all of them would hold more synapses
        "matrix behind a weight",
        MAP,
        "Conv(1x4x1x1, stride 2x2) -> Reshape(4) -> Linear(3x4)",
        (conv(1, 4, 1, stride=2), Reshape((4,)), Linear(numbers(3, 4))),
    ),
]


@pytest.mark.parametrize(("name", "shape", "text", "chain"), LEFT_ALONE)
def test_what_a_rule_leaves_alone(name, shape, text, chain):
    assert chain_text(chain) == text
    assert rewrite_once(name, chain, shape) is None


def test_every_rule_has_its_own_name_and_a_text():
    assert len(NAMED) == len(RULES)
    assert {name for name, *_ in REWRITTEN} == NAMED.keys()
    assert {name for name, *_ in LEFT_ALONE} <= NAMED.keys()


def test_factors_are_multiplied_in_the_order_of_the_rules():
    """What a network's weights are to the last bit: no other order of the three products gives the same floats."""
    a, w, b, c = numbers(3), numbers(5, 3), numbers(5), np.exp(numbers(5))
    (simple,) = simplify((Scale(a), Linear(w), Scale(b), Scale(c)), (3,))
    assert np.array_equal(simple.weight, w * a * b[:, None] * c[:, None])
    assert not np.array_equal(simple.weight, w * a * (b * c)[:, None])
    first, second = numbers(4, 3), numbers(2, 4)
    (simple,) = simplify((Linear(first), Scale(numbers(4)), Linear(second)), (3,))
    assert np.array_equal(simple.weight, second @ (first * numbers(4)[:, None]))


def test_channels_that_hold_nothing_keep_their_factors():
    """Any factor would do for them; 1 leaves the weights as they are."""
    factors = numbers(4)
    _, moved = rewrite_once("scale before a move", (Scale(factors), Pad(((1, 2), *NONE))), MAP)
    assert np.array_equal(moved.weight, [1, *factors, 1, 1])
    weight = conv(6, 4, 3)
    scaled, _ = rewrite_once("scale into the weight before", (weight, Slice(0, 1, 6, 2), scale(2, 3, 4)), MAP)
    kept = np.array([1, 2, 1, 3, 1, 4]).reshape(6, 1, 1, 1)
    assert np.array_equal(scaled.weight, weight.weight * kept)


#: (shape, chain, kinds after simplification)
SIMPLIFIED = {
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
    "concat into depthwise": ((4, 8, 8), (Pad(((2, 0), *NONE)), conv(6, 6, 3, groups=6), conv(5, 6, 1)), [Conv]),
    "a linear network is one matrix": (
        (3, 8, 8),
        (conv(4, 3, 3, pad=1), conv(4, 4, 3, pad=1), POOL, Reshape((64,)), Linear(numbers(2, 64))),
        [Reshape, Linear],
    ),
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


@pytest.mark.parametrize("name", SIMPLIFIED)
def test_what_the_rules_are_there_for(name):
    shape, chain, kinds = SIMPLIFIED[name]
    simple = simplify(chain, shape)
    assert list(map(type, simple)) == kinds
    assert_equal_maps(simple, chain, shape)


def test_a_slice_of_padding_is_nothing():
    assert simplify((Pad(((2, 3), *NONE)), Slice(0, 6, 9), Scale(np.ones(3))), (4, 5, 5)) == Zero()


#: (rule, text of one operator, text of the other, text of their sum)
ADDED = [
    ("scale and scale", Scale(numbers(4)), scale(1, 2, 3, 4), "Scale(4) + Scale(4) = Scale(4)"),
    ("matrix and matrix", Linear(numbers(3, 4)), Linear(np.ones((3, 4))), "Linear(3x4) + Linear(3x4) = Linear(3x4)"),
    ("matrix and scale", Linear(numbers(4, 4)), Scale(numbers(4)), "Linear(4x4) + Scale(4) = Linear(4x4)"),
    (
        "convolution and convolution",
        conv(4, 4, 3, pad=1, stride=2),
        conv(4, 4, 1, stride=2),
        "Conv(4x4x3x3, pad 1 1, stride 2x2) + Conv(4x4x1x1, stride 2x2) = Conv(4x4x3x3, pad 1 1, stride 2x2)",
    ),
    (
        "convolution and scale",
        conv(4, 4, 3, pad=1, groups=2),
        Scale(numbers(4)),
        "Conv(4x2x3x3, pad 1 1, groups 2) + Scale(4) = Conv(4x2x3x3, pad 1 1, groups 2)",
    ),
]


@pytest.mark.parametrize(("name", "one", "other", "text"), ADDED)
def test_what_a_rule_makes_of_a_sum(name, one, other, text):
    (rule,) = (r for r in SUM_RULES if r.name == name)
    shape = (4,) if isinstance(one, Linear) else (4, 6, 6)
    expected = apply_chain((one,), values(shape), shape) + apply_chain((other,), values(shape), shape)
    for a, b in ((one, other), (other, one)):
        total = rule.add(a, b)
        assert " = ".join((f"{chain_text((one,))} + {chain_text((other,))}", chain_text((total,)))) == text
        np.testing.assert_allclose(apply_chain((total,), values(shape), shape), expected, atol=1e-12)


#: (rule, two operators that it leaves in parallel)
KEPT_APART = [
    ("matrix and scale", Linear(numbers(3, 4)), Scale(numbers(3))),
    ("convolution and convolution", conv(4, 4, 3, pad=1), conv(4, 4, 3, pad=1, groups=2)),
    ("convolution and convolution", conv(4, 4, 3, pad=1, stride=2), conv(4, 4, 1)),
    ("convolution and convolution", conv(4, 4, 3), conv(4, 4, 1, pad=1)),
    ("convolution and convolution", conv(4, 4, 3, pad=2), conv(4, 4, 3, pad=1)),
    ("convolution and convolution", conv(4, 4, 5, pad=2), Conv(numbers(4, 4, 3, 3), ONES, ((2, 2),) * 2, (2, 2))),
    ("convolution and convolution", Conv(numbers(4, 4, 3, 3), ONES, ((1, 3),) * 2, (2, 2)), conv(4, 4, 1)),
    ("convolution and scale", conv(4, 4, 3, pad=1, stride=2), Scale(numbers(4))),
    ("convolution and scale", conv(3, 4, 1), Scale(numbers(3))),
]


@pytest.mark.parametrize(("name", "one", "other"), KEPT_APART)
def test_what_a_rule_of_sums_leaves_alone(name, one, other):
    (rule,) = (r for r in SUM_RULES if r.name == name)
    assert rule.add(one, other) is None
    assert rule.add(other, one) is None


def test_every_rule_of_sums_has_its_own_name_and_a_text():
    names = [rule.name for rule in SUM_RULES]
    assert sorted(names) == sorted(name for name, *_ in ADDED)


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


def test_equal_paths_are_one_of_twice_the_weight():
    path = (POOL, conv(3, 4, 1))
    ((pool, doubled),) = join_parallel([path, path], MAP)
    assert chain_text((pool, doubled)) == chain_text(path)
    assert np.array_equal(doubled.weight, 2 * path[1].weight)
    assert chain_text(join_parallel([(POOL,), (POOL,)], MAP)[0]) == "SumPool(2x2, stride 2x2) -> Scale(4)"


@pytest.mark.parametrize("name", PARALLEL)
def test_parallel_paths(name):
    chains_, count = PARALLEL[name]
    shape = (4, 8, 8)
    joined = join_parallel(chains_, shape)
    assert len(joined) == count
    expected = sum(apply_chain(c, values(shape), shape) for c in chains_)
    np.testing.assert_allclose(sum(apply_chain(c, values(shape), shape) for c in joined), expected, atol=1e-9)
