"""Payloads added up neuron by neuron, against numpy."""

import numpy as np
import pytest
import torch

from sim import counting
from sim.activity import Counter


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("timesteps", [1, 3, 4, 9, 300])
def test_sums_and_events_of_what_each_sample_ran(kind, timesteps):
    """More rows than 16 bits hold at the largest payloads, more neurons than a tile, samples that stop anywhere."""
    rng = np.random.default_rng(0)
    range_of_kind = np.iinfo(kind)
    samples, neurons = 70 if timesteps < 10 else 5, counting.TILE + 5
    payload = rng.integers(range_of_kind.min, range_of_kind.max + 1, (samples, timesteps, neurons), np.int16).astype(
        kind
    )
    payload[:, :, :3] = range_of_kind.min or range_of_kind.max
    payload[:, :, 3:][rng.random((samples, timesteps, neurons - 3)) < 0.3] = 0
    ran = rng.integers(0, timesteps + 1, samples)
    counter = Counter()
    counter.count("neurons", torch.from_numpy(payload).transpose(0, 1), ran)
    activity = counter.activity(samples, int(ran.sum()), {})
    total, events = activity.payloads["neurons"], activity.events["neurons"]
    counts = ran[:, np.newaxis] if timesteps == 1 else ran[:, np.newaxis] > np.arange(timesteps)
    np.testing.assert_array_equal(total, np.einsum("ntc,nt->c", np.abs(payload.astype(np.int64)), counts))
    np.testing.assert_array_equal(events, np.einsum("ntc,nt->c", (payload != 0).astype(np.int64), counts))
