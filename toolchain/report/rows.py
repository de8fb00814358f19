"""The numbers of a report as plain rows: what the page, the JSON, the CSV and the Markdown share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from toolchain.energy import PopulationEnergy
from toolchain.netlist import AdaFire, CubaLif, Input, MaxPool, Netlist, Population, UnsupportedError
from toolchain.netlist.shapes import size
from toolchain.report.baselines import Baseline, stop
from toolchain.report.measure import Measurement, PopulationActivity
from toolchain.report.searched import Search, read_search


@dataclass(frozen=True)
class Row:
    """One population; counts and energies are means per sample, None where there is no such number.

    Parameters
    ----------
    name, kind : str
    shape : tuple of int
    neurons : int
    depth : int or None
        In hops from the input; None where a loop is too fast for a pipeline of one step per hop.
    phi, threshold_min, threshold_max, weight_bits, membrane_bits_used : int or None
    rho : float or None
        Factor of spike compression.
    spikes, firing_rate : float or None
        Sum of payloads; share of payloads that are not zero.
    macs, sops, events, neuron_updates : float
    energy_pj, energy_ann_pj : float
    saturations : int
    sqnr_db, cosine : float or None
        Against the netlist without spikes.
    ann_sqnr_db, ann_cosine : float or None
        Against the ANN.
    sensitivity : float or None
        Increase of the divergence from the ANN that its layer's phi causes, by the search.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    neurons: int
    depth: int | None
    phi: int | None
    rho: float | None
    threshold_min: int | None
    threshold_max: int | None
    weight_bits: int | None
    membrane_bits_used: int | None
    spikes: float | None
    firing_rate: float | None
    macs: float
    sops: float
    events: float
    neuron_updates: float
    energy_pj: float
    energy_ann_pj: float
    saturations: int
    sqnr_db: float | None
    cosine: float | None
    ann_sqnr_db: float | None
    ann_cosine: float | None
    sensitivity: float | None


def rows(measurement: Measurement) -> tuple[Row, ...]:
    """Return one row per population, in the order of the netlist."""
    energies = {p.name: p for p in measurement.energy.populations}
    search = read_search(measurement.netlist.provenance)
    return tuple(
        _row(measurement, p, measurement.activity[p.name], energies.get(p.name), search)
        for p in measurement.netlist.populations
    )


def _row(
    measurement: Measurement,
    population: Population,
    activity: PopulationActivity,
    energy: PopulationEnergy | None,
    search: Search | None,
) -> Row:
    netlist, samples = measurement.netlist, measurement.samples
    neuron = population if isinstance(population, AdaFire | CubaLif) else None
    emitted = int(activity.bursts.sum()) if activity.bursts.size else 0
    headroom = measurement.headroom.get(population.name)
    spiking, ann = activity.spiking_error, activity.ann_error
    return Row(
        name=population.name,
        kind="Input" if energy is None else energy.kind,
        shape=population.shape,
        neurons=size(population.shape),
        depth=_depths(netlist).get(population.name),
        phi=_longest_burst(population),
        rho=None if search is None else search.rho.get(population.name),
        threshold_min=None if neuron is None else int(neuron.threshold.min()),
        threshold_max=None if neuron is None else int(neuron.threshold.max()),
        weight_bits=None if isinstance(population, Input | MaxPool) else netlist.weight_bits,
        membrane_bits_used=None if headroom is None else headroom.bits,
        spikes=float(activity.rate_map.sum()) * netlist.timesteps if activity.rate_map.size else None,
        firing_rate=1 - int(activity.bursts[0]) / emitted if emitted else None,
        macs=0.0 if energy is None else energy.macs / samples,
        sops=0.0 if energy is None else energy.sops / samples,
        events=0.0 if energy is None else energy.events / samples,
        neuron_updates=0.0 if energy is None else energy.neuron_updates / samples,
        energy_pj=0.0 if energy is None else float(energy.energy / samples),
        energy_ann_pj=0.0 if energy is None else float(energy.energy_ann / samples),
        saturations=activity.saturations,
        sqnr_db=None if spiking is None or isinstance(population, Input) else spiking.sqnr,
        cosine=None if spiking is None or isinstance(population, Input) else spiking.cosine,
        ann_sqnr_db=None if ann is None else ann.sqnr,
        ann_cosine=None if ann is None else ann.cosine,
        sensitivity=None if search is None else search.sensitivity.get(population.name),
    )


def _depths(netlist: Netlist) -> Mapping[str, int]:
    try:
        return netlist.depths
    except UnsupportedError:
        return {}


def stopped_early(measurement: Measurement) -> Baseline | None:
    """Return the netlist itself, stopped where it is first as good as at its end; None if that is its end.

    Baselines may stop early, so it must be seen what the reported netlist would gain by that.
    """
    m = measurement
    if m.score is None:
        return None
    found = stop(
        m.netlist,
        m.energy.counts,
        m.outcome.by_timestep,
        name=f"{m.name}, stopped early",
        measure=m.outcome.measure,
        score=m.score,
        reported=m.energy,
    )
    return None if found.timestep == found.timesteps else found


def _longest_burst(population: Population) -> int | None:
    match population:
        case AdaFire():
            return population.phi
        case CubaLif():
            return 1
        case MaxPool():
            return population.max_payload
    return None


def to_json(measurement: Measurement) -> dict[str, Any]:
    """Return everything that the report shows as JSON values."""
    m = measurement
    stages, early = m.netlist.provenance.evaluation, stopped_early(m)
    ann, accurate = m.outcome.ann, m.outcome.accuracy is not None
    without = None if m.without_spikes is None else m.without_spikes.value
    return {
        "netlist": m.name,
        "hash": m.netlist.content_hash,
        "data": m.data,
        "samples": m.samples,
        "spike_code": m.netlist.spike_code,
        "digits": None if m.netlist.radix is None else m.netlist.radix.digits,
        "timesteps": m.netlist.timesteps,
        "latency": m.latency,
        **m.outcome.to_json(),
        "score_without_spikes": without,
        "accuracy_without_spikes": without if accurate else None,
        "accuracy_ann": ann.value if ann is not None and accurate else None,
        "input_clips": m.input_clips.clipped,
        "evaluation": None if stages is None else stages.to_json(),
        "equivalence": None if m.equivalence is None else m.equivalence.to_json(),
        "check": None if m.check is None else m.check.to_json(),
        "placement": None if m.placement is None else m.placement.to_json(),
        "early_exit": list(m.exits),
        "layers": [{**asdict(row), "shape": list(row.shape)} for row in rows(m)],
        "energy": m.energy.to_json(),
        "stopped_early": None if early is None else early.to_json(),
        "at_equal_accuracy": [b.to_json() for b in m.baselines],
        "provenance": m.netlist.provenance.to_json(),
    }
