"""The same counts in NeuroBench's terms.

Source: Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and
systems", Nature Communications 16, 2025, doi:10.1038/s41467-025-56739-4.
"""

from __future__ import annotations

from typing import Any

from toolchain.energy.counts import Counts


def neurobench(counts: Counts) -> dict[str, Any]:
    """Return NeuroBench's metrics of a run.

    Returns
    -------
    dict
        `footprint` (bytes of weights and parameters, each in whole bytes of its own width),
        `connection_sparsity` (share of weights that are zero), `activation_sparsity` (share of
        payloads that are zero, over all spiking populations, timesteps and samples) and
        `synaptic_operations` per sample: `Dense` (synapses times timesteps), `Effective_MACs` and
        `Effective_ACs` (synapses whose weight and payload are not zero; accumulates where no
        payload can exceed 1, multiply-accumulates elsewhere).
    """
    spiking = [p for p in counts.populations if p.kind in ("AdaFire", "CubaLif", "MaxPool")]
    payloads = counts.steps * sum(p.neurons for p in spiking)
    zeros = payloads - sum(p.active for p in spiking)
    macs = sum(c.effective for c in counts.connections if c.payload_max > 1)
    acs = sum(c.effective for c in counts.connections if c.payload_max <= 1)
    return {
        "footprint": counts.weights.footprint,
        "connection_sparsity": counts.weights.zeros / counts.weights.total if counts.weights.total else 0.0,
        "activation_sparsity": zeros / payloads if payloads else 0.0,
        "synaptic_operations": {
            "Effective_MACs": macs / counts.samples,
            "Effective_ACs": acs / counts.samples,
            "Dense": counts.steps * sum(c.synapses for c in counts.connections) / counts.samples,
        },
    }
