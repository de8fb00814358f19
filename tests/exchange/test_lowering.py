"""Lowered chains do what the original ones do, in the few forms that NIR has."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.exchange.lowering import identity, lower, zeros
from toolchain.netlist import (
    Conv,
    ConvTranspose,
    Linear,
    NetlistError,
    Pad,
    Permute,
    Reshape,
    Scale,
    Slice,
    SumPool,
    UnsupportedError,
    apply_chain,
    chain_shapes,
)


def assert_same(operators, shape, seed=0):
    lowered = tuple(piece.operator for piece in lower("a->b", operators, shape))
    x = np.random.default_rng(seed).integers(-9, 10, size=(2, *shape))
    np.testing.assert_array_equal(apply_chain(operators, x, shape), apply_chain(lowered, x, shape))
    for operator in lowered:
        match operator:
            case Conv():
                assert operator.groups == 1
                assert len(set(operator.weight.shape[2:])) == 1
                assert all(a == b for a, b in operator.padding)
            case SumPool():
                assert len(operator.kernel) == 2
                assert all(a == b for a, b in operator.padding)
            case Linear() | Reshape():
                pass
            case _:
                raise AssertionError(operator)
    return lowered


small = st.integers(0, 2)


@st.composite
def chains(draw):
    """A shape and a chain that fits it."""
    axes = draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    shape = (draw(st.sampled_from([2, 4])), *(draw(st.integers(4, 9)) for _ in range(axes)))
    operators, now = [], shape
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["conv", "pool", "scale", "slice", "pad"]))
        pairs = tuple((draw(small), draw(small)) for _ in range(axes))
        sides = tuple(draw(st.integers(1, 3)) for _ in range(axes))
        strides = tuple(draw(st.integers(1, 3)) for _ in range(axes))
        if kind == "conv":
            groups = draw(st.sampled_from([g for g in (1, 2, 4) if now[0] % g == 0]))
            weight = rng.integers(-5, 6, (4, now[0] // groups, *sides))
            operator = Conv(weight, strides, pairs, tuple(draw(st.integers(1, 2)) for _ in range(axes)), groups)
        elif kind == "pool":
            operator = SumPool(sides, strides, pairs)
        elif kind == "scale":
            operator = Scale(rng.integers(-5, 6, now[0]))
        elif kind == "slice":
            axis = draw(st.integers(0, axes))
            start = draw(st.integers(0, now[axis] - 1))
            operator = Slice(axis, start, draw(st.integers(start + 1, now[axis])), draw(st.integers(1, 3)))
        else:
            operator = Pad(((draw(small), draw(small)), *pairs))
        try:
            now = chain_shapes((operator,), now)[-1]
        except NetlistError:
            continue
        operators.append(operator)
    return shape, tuple(operators)


@given(chains())
@settings(max_examples=300)
def test_any_chain_of_windows_is_lowered_exactly_or_refused(case):
    shape, operators = case
    try:
        assert_same(operators, shape)
    except UnsupportedError:
        # What has no window has a matrix, where the target is flat.
        flat = math.prod(chain_shapes(operators, shape)[-1])
        assert_same((*operators, Reshape((flat,))), shape)


def test_an_option_a_shortcut_is_one_convolution():
    chain = (Slice(1, 0, 8, 2), Slice(2, 0, 8, 2), Pad(((2, 2), (0, 0), (0, 0))), Scale(np.arange(1, 9)))
    (conv,) = assert_same(chain, (4, 8, 8))
    assert conv.stride == (2, 2)
    assert conv.weight.shape == (8, 4, 1, 1)


def test_two_scales_are_two_nodes():
    assert len(assert_same((Scale(np.array([2, 3])), Scale(np.array([5, 7]))), (2, 4, 4))) == 2


def test_nothing_is_nothing():
    assert lower("a->b", (), (2, 3, 3)) == ()
    assert lower("a->b", (Slice(1, 0, 3, 1), Pad(((0, 0),) * 3), Reshape((2, 3, 3))), (2, 3, 3)) == ()


def test_what_ends_flat_is_always_a_matrix():
    rng = np.random.default_rng(0)
    chain = (
        Permute((1, 2, 0)),
        ConvTranspose(rng.integers(-3, 4, (4, 2, 2, 2)), (2, 2), ((0, 0), (1, 0))),
        Reshape((2 * 8 * 5,)),
        Linear(rng.integers(-3, 4, (5, 80))),
    )
    lowered = assert_same(chain, (3, 4, 4))
    assert [type(o) for o in lowered] == [Reshape, Linear]


@pytest.mark.parametrize(
    ("operators", "shape"),
    [
        ((Permute((1, 0, 2)),), (2, 3, 4)),
        ((Reshape((4, 2, 3)),), (24,)),
        ((ConvTranspose(np.ones((2, 3, 2, 2), np.int64), (2, 2), ((0, 0), (0, 0))),), (2, 3, 3)),
        ((Conv(np.ones((2, 3, 1, 1, 1), np.int64), (1, 1, 1), ((0, 0),) * 3, (1, 1, 1)),), (3, 2, 2, 2)),
    ],
)
def test_what_has_no_node_is_refused_by_name(operators, shape):
    with pytest.raises(UnsupportedError, match="a->b"):
        lower("a->b", operators, shape)


@pytest.mark.parametrize(
    ("source", "target"), [((3, 8, 8), (5,)), ((3, 8, 8), (4, 4, 4)), ((6,), (2,)), ((2, 9), (4, 3))]
)
def test_a_population_without_inputs_still_gets_its_bias(source, target):
    chain = tuple(piece.operator for piece in zeros("a", source, target))
    assert chain_shapes(chain, source)[-1] == target
    assert not apply_chain(chain, np.ones((1, *source), np.int64), source).any()


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_an_identity_carries_a_bias(shape):
    x = np.random.default_rng(0).integers(-9, 9, (2, *shape))
    np.testing.assert_array_equal(apply_chain((identity("a", shape).operator,), x, shape), x)
