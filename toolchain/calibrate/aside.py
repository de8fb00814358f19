"""What is not needed for a while, its arrays kept as activations are: in memory within the bound, or in a file."""

from __future__ import annotations

import pickle
from itertools import accumulate, pairwise
from typing import Generic, TypeVar

import numpy as np
import torch

from toolchain.calibrate.storage import Storage

Thing = TypeVar("Thing")


class Aside(Generic[Thing]):
    """Something that is put aside: it lives on here only, until it is taken up again.

    Parameters
    ----------
    thing : object
        Whose arrays take up the memory.
    storage : Storage

    Raises
    ------
    InputError
        When it has to be a file, and none can be written; names TMPDIR.
    """

    def __init__(self, thing: Thing, storage: Storage) -> None:
        arrays: list[pickle.PickleBuffer] = []
        # All but the arrays, in this process's memory: nobody else could have written it.
        self._form = pickle.dumps(thing, protocol=5, buffer_callback=arrays.append)
        contents = [array.raw() for array in arrays]
        self._ends = list(accumulate((len(content) for content in contents), initial=0))
        self._arrays = storage.allocate((self._ends[-1], 1), torch.uint8)
        for content, part in zip(contents, self._parts(), strict=True):
            self._arrays[part] = torch.from_numpy(np.array(content))[:, None]

    def take(self) -> Thing:
        """Return the same again, once: nothing is kept here any more."""
        # Copies, since arrays begin anywhere there.
        arrays = [self._arrays[part].numpy().flatten() for part in self._parts()]
        del self._arrays
        thing: Thing = pickle.loads(self._form, buffers=arrays)  # noqa: S301
        return thing

    def _parts(self) -> list[slice]:
        return [slice(start, stop) for start, stop in pairwise(self._ends)]
