"""Docstrings' shapes hold: conftest checks every call of the tests; here is shown that such a check can fail."""

import documented_shapes
import numpy as np
import pytest
import torch
from documented_shapes import ShapeError, checked, extent, modules, parse, sections

from sim import golden
from toolchain.network import Firing

#: Arrays whose shapes a docstring says in a way that is not checked: two open runs of axes in one shape.
IN_WORDS = {"ndarray (..., *shape)", "ndarray (..., *shape), dtype of `y`", "ndarray (..., *shape), float"}
IN_WORDS |= {"ndarray (..., *shape), int8 or uint8"}


def joined(x, threshold, n):
    """Join.

    Parameters
    ----------
    x : ndarray (N, *shape), or (T, N, *shape) for frames; int8 or uint8
    threshold : ndarray (C,) or None, float64
    n : int

    Returns
    -------
    ndarray (N, C), int64
    """
    return np.zeros((2, n), np.int64)


def test_a_call_as_documented_passes():
    assert checked(joined)(np.zeros((2, 3), np.int8), np.zeros(4), 4).shape == (2, 4)
    assert checked(joined)(np.zeros((9, 2, 3, 3), np.uint8), None, 4).shape == (2, 4)


@pytest.mark.parametrize(
    ("x", "threshold", "n", "message"),
    [
        (np.zeros((2, 3)), None, 4, "x is ndarray \\(2, 3\\), float64"),
        (np.zeros(3, np.int8), np.zeros((4, 1)), 4, "threshold is ndarray \\(4, 1\\)"),
        (torch.zeros(2, 3, dtype=torch.uint8), None, 4, "x is Tensor"),
        (np.zeros((2, 3), np.int8), np.zeros(5), 4, "the result is ndarray \\(2, 4\\), int64"),
    ],
)
def test_a_call_that_is_not_as_documented_fails(x, threshold, n, message):
    with pytest.raises(ShapeError, match=message):
        checked(joined)(x, threshold, n)


def test_a_function_says_first_what_it_refuses():
    with pytest.raises(TypeError):
        checked(joined)(np.zeros(()), None, "many")


def test_a_function_without_shapes_is_left_as_it_is():
    def plain(n):
        """Count.

        Parameters
        ----------
        n : int
        """

    assert checked(plain) is plain


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("N", "N"),
        ("3", "3"),
        ("...", "..."),
        ("K...", "*K"),
        ("*shape", "*shape"),
        ("*source shape", "*source_shape"),
        ("C_in // groups", "_"),
        ("1 or T", "_"),
    ],
)
def test_extents_are_read(written, read):
    assert extent(written) == read


def test_the_product_is_checked_in_this_very_run():
    assert hasattr(golden.simulate, "__wrapped__")
    assert hasattr(Firing.__init__, "__wrapped__")


def test_nearly_every_documented_array_is_checked():
    found = [
        text
        for module in modules()
        for value in vars(module).values()
        if getattr(value, "__module__", None) == module.__name__
        for item in (value, *(vars(value).values() if isinstance(value, type) else ()))
        for _, _, text in sections(getattr(item, "__doc__", None))
        if text.split(" ")[0].rstrip(",") in ("ndarray", "Tensor") and "(" in text
    ]
    assert len(found) > 120
    assert {text for text in found if parse(text) is None} <= IN_WORDS


def test_the_checks_are_installed_once():
    before = golden.simulate
    documented_shapes.install()
    assert golden.simulate is before
