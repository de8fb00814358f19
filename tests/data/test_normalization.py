"""Normalisation: how it is spelled."""

import pytest

from toolchain.data import parse_normalization
from toolchain.netlist import InputError


@pytest.mark.parametrize(
    ("text", "found"), [("cifar", "cifar"), ("0.5", "0.5"), ("0.5/0", "0.5/0"), ("1,2/1", "1,2/1"), ("nan/1", "nan/1")]
)
def test_normalizations_that_are_none_are_refused(text, found):
    with pytest.raises(InputError, match=f"normalize: '{found}' found"):
        parse_normalization(text, 3)
