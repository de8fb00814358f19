"""Memory that is used again: never while somebody reads it, and never more than a bound."""

import numpy as np
import pytest
import torch

from sim import memory

SHAPE = (3, 100, 1000)


@pytest.fixture(autouse=True)
def none_kept():
    memory._kept.clear()
    yield
    memory._kept.clear()


def place(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.int64])
def test_an_array_is_as_numpy_makes_it(kind):
    array = memory.empty(SHAPE, kind)
    assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == (SHAPE, kind, True, True)
    array[...] = 7
    assert (array == 7).all()


def test_a_block_is_used_again_when_it_is_not_read_any_more():
    first = memory.empty(SHAPE, np.uint8)
    where = place(first)
    del first
    assert place(memory.empty((2, 149_000), np.uint8)) == where


@pytest.mark.parametrize("view", [lambda a: a[1:, ::2], lambda a: a.reshape(-1).view(np.int8), torch.from_numpy])
def test_a_block_that_is_read_is_nobody_elses(view):
    first = memory.empty(SHAPE, np.uint8)
    first[...] = 3
    seen = view(first)
    del first
    other = memory.empty(SHAPE, np.uint8)
    other[...] = 5
    assert (seen == 3).all()


def test_no_more_is_kept_than_the_bound():
    arrays = [memory.empty((memory.MOST // 3,), np.uint8) for _ in range(5)]
    arrays.clear()
    kept = [block.size for blocks in memory._kept.values() for block in blocks]
    assert 0 < sum(kept) <= memory.MOST


def test_small_arrays_are_left_to_numpy():
    assert memory.empty((10, 10), np.int64).base is None
