"""What is put aside comes back the same, wherever it lay, and is not held meanwhile."""

import weakref
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from toolchain.calibrate import Aside, Storage


@dataclass(frozen=True, eq=False)
class Thing:
    name: str
    arrays: tuple[np.ndarray, ...]


@pytest.mark.parametrize("memory", [0.0, 1.0])
def test_what_is_put_aside_comes_back(memory):
    arrays = (np.arange(6.0).reshape(2, 3), np.zeros(0), np.arange(5, dtype=np.int8), np.arange(8)[::2])
    thing, wanted = Thing("a", arrays), [a.copy() for a in arrays]
    held = [weakref.ref(a) for a in arrays]
    storage = Storage(memory)
    aside = Aside(thing, storage)
    del arrays, thing
    assert not any(ref() is not None for ref in held)
    taken = aside.take()
    assert taken.name == "a"
    assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(taken.arrays, wanted, strict=True))
    assert all(a.flags.aligned for a in taken.arrays)
    # All of the room is there again.
    assert type(storage.allocate((int(memory * 2**30), 1), torch.uint8)).__name__ == "_InMemory"
