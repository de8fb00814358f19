"""Chains as matrices, and synapses counted in the matrix of ones: rows are targets, columns are sources."""

from dataclasses import replace

import numpy as np
import pytest

from toolchain.netlist import (
    Connection,
    Conv,
    ConvTranspose,
    Linear,
    Pad,
    Permute,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    apply,
    apply_chain,
    chain_matrix,
    chain_shapes,
    fan_in,
    fan_out,
    fan_outs,
)

RNG = np.random.default_rng(0)


def weights(*shape):
    """Integers of which about a third are zero."""
    return RNG.integers(-1, 2, shape) * RNG.integers(1, 9, shape)


CHAINS = {
    "nothing": ((3, 2), ()),
    "more neurons than unit vectors at a time": ((2, 12, 13), (SumPool((2, 3), (2, 2), ((0, 1), (1, 0))),)),
    "pool, conv, flatten": (
        (2, 6, 5),
        (
            SumPool((2, 2), (1, 2), ((0, 0), (1, 0))),
            Conv(weights(4, 1, 3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1), 2),
            Reshape((60,)),
            Linear(weights(3, 60)),
        ),
    ),
    "transposed": ((2, 3), (ConvTranspose(weights(2, 3, 3), (2,), ((1, 0),)),)),
    "shortcut": ((2, 5, 4), (Slice(1, 0, 5, 2), Pad(((1, 1), (0, 0), (0, 2))), Scale(weights(4)))),
    "upsampling": ((2, 2, 3), (Resample((np.eye(2, dtype=int).repeat(2, 0), weights(4, 3))), Permute((2, 0, 1)))),
}


def ones_for_weights(operator):
    """The operator's structure, by hand."""
    if isinstance(operator, Resample):
        return Resample(tuple(np.where(m != 0, 1, 0) for m in operator.matrices))
    return replace(operator, weight=np.ones_like(operator.weight)) if hasattr(operator, "weight") else operator


@pytest.mark.parametrize("name", CHAINS)
def test_the_matrix_of_a_chain_does_what_the_chain_does(name):
    shape, chain = CHAINS[name]
    matrix = chain_matrix(chain, shape)
    assert matrix.dtype == np.int64
    assert matrix.flags.c_contiguous
    x = RNG.integers(-9, 10, (5, *shape))
    expected = apply_chain(chain, x, shape).reshape(5, -1)
    np.testing.assert_array_equal(x.reshape(5, -1) @ matrix.T, expected)


@pytest.mark.parametrize("name", CHAINS)
def test_synapses_are_the_ones_of_the_structure(name):
    shape, chain = CHAINS[name]
    paths = np.eye(int(np.prod(shape)), dtype=np.int64)
    for operator, before in zip(chain, chain_shapes(chain, shape), strict=False):
        paths = apply(ones_for_weights(operator), paths.reshape(-1, *before), before)
    paths = paths.reshape(int(np.prod(shape)), -1)
    assert fan_in(chain, shape).dtype == fan_out(chain, shape).dtype == np.int64
    assert fan_in(chain, shape).shape == chain_shapes(chain, shape)[-1]
    np.testing.assert_array_equal(fan_out(chain, shape), paths.sum(axis=1).reshape(shape))
    np.testing.assert_array_equal(fan_in(chain, shape).ravel(), paths.sum(axis=0))


def test_weights_of_zero_count_only_where_they_are_to():
    weight = np.array([[1, 0, -3], [0, 0, 5]])
    np.testing.assert_array_equal(fan_out((Linear(weight),), (3,)), [2, 2, 2])
    np.testing.assert_array_equal(fan_out((Linear(weight),), (3,), zeros=False), [1, 0, 2])


def test_connections_of_one_source_add_up():
    connections = [
        Connection("a", "b", (Linear(np.ones((4, 2), int)),)),
        Connection("a", "c", (Slice(0, 1, 2),)),
        Connection("b", "c", (Slice(0, 0, 1),)),
    ]
    counts = fan_outs(connections, {"a": (2,), "b": (4,), "c": (1,)})
    assert {name: count.tolist() for name, count in counts.items()} == {"a": [4, 5], "b": [1, 0, 0, 0]}
