"""Other netlists at the score of the reported one: when they reach it, and what they have spent by then.

Energies of two networks compare only where both decide equally well. A netlist's decisions and operations are known
after every timestep, so one run tells what it would cost to stop at the first one that is good enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.energy import Counts, EnergyReport, paper_energy_by_timestep, sops_by_timestep
from toolchain.evaluate import Reference, Scoring, observe, operations
from toolchain.netlist import AdaFire, InputError, Netlist

#: Samples in memory at a time.
BATCH = 32


@dataclass(frozen=True)
class Baseline:
    """A netlist, run until it scores as the reported one.

    Parameters
    ----------
    name, content_hash : str
    phi : tuple of int
        Shortest and longest of its populations' longest bursts.
    answers : tuple of int
        Timesteps at which it has an answer.
    measure : str
        What the scores are: accuracy, mIoU, ...
    score_by_timestep : tuple of float
        One per answer.
    timestep : int or None
        The first at which it scores at least as the reported netlist does at its last; None for never.
    energy : Decimal or None
        In the paper's model, pJ, sum over samples, up to and including `timestep`.
    sops : int or None
        Likewise.
    energy_ratio, sops_ratio : float or None
        `energy` and `sops` relative to those of the reported netlist; None also where it spends nothing.
    samples : int
    """

    name: str
    content_hash: str
    phi: tuple[int, int]
    answers: tuple[int, ...]
    measure: str
    score_by_timestep: tuple[float, ...]
    timestep: int | None
    energy: Decimal | None
    sops: int | None
    energy_ratio: float | None
    sops_ratio: float | None
    samples: int

    @property
    def timesteps(self) -> int:
        """T of the baseline."""
        return self.answers[-1]

    @property
    def reached(self) -> float | None:
        """Score at `timestep`."""
        return None if self.timestep is None else self.score_by_timestep[self.answers.index(self.timestep)]

    @property
    def best(self) -> float:
        """Score at its best timestep."""
        return max(self.score_by_timestep)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; energy and SOPs are per sample; accuracies have names of their own."""
        scores = {"score_by_timestep": list(self.score_by_timestep), "best_score": self.best}
        accuracies = {"accuracy_by_timestep": list(self.score_by_timestep), "best_accuracy": self.best}
        return {
            "name": self.name,
            "hash": self.content_hash,
            "phi": list(self.phi),
            "timesteps": self.timesteps,
            "measure": self.measure,
            **scores,
            **(accuracies if self.measure == "accuracy" else {}),
            "timestep": self.timestep,
            "energy_pj_per_sample": None if self.energy is None else float(self.energy / self.samples),
            "sops_per_sample": None if self.sops is None else self.sops / self.samples,
            "energy_ratio": self.energy_ratio,
            "sops_ratio": self.sops_ratio,
        }


def phi_range(netlist: Netlist) -> tuple[int, int]:
    """Return the least and the greatest phi of a netlist's populations; (0, 0) where none fires."""
    found = [p.phi for p in netlist.populations if isinstance(p, AdaFire)]
    return min(found, default=0), max(found, default=0)


def check_baselines(netlist: Netlist, data: Dataset, baselines: Mapping[str, Netlist], scored: Scoring) -> None:
    """Raise unless every baseline takes the same samples and is scored alike.

    Raises
    ------
    InputError
        When nothing is scored, or a baseline is of another network.
    """
    if not baselines:
        return
    if scored.unscored is not None:
        why = f"{scored.unscored}, and baselines compare at equal scores"
        raise InputError(data.name, why, "leave `baselines` out")
    shapes = [r.shape for r in netlist.readouts]
    for name, baseline in baselines.items():
        for what, found, expected in (
            ("an input of shape", baseline.input.shape, netlist.input.shape),
            ("coding", baseline.input.coding, netlist.input.coding),
            ("readouts of shape", [r.shape for r in baseline.readouts], shapes),
        ):
            if found != expected:
                raise InputError(
                    name, f"{what} {found} found, the reported netlist has {expected}", "convert the same network"
                )
        if data.frames is not None and data.frames < baseline.timesteps:
            raise InputError(name, f"T = {baseline.timesteps}, {data.name} holds {data.frames} frames")


def run_baseline(
    netlist: Netlist,
    data: Dataset,
    *,
    name: str,
    scored: Scoring,
    score: float,
    reported: EnergyReport,
    progress: Progress = silent,
) -> Baseline:
    """Run a netlist until it is as accurate as the reported one.

    Parameters
    ----------
    netlist : Netlist
        That `check_baselines` took.
    data : Dataset
    name : str
        How the report calls the baseline.
    scored : Scoring
        By the task of the reported netlist.
    score : float
        Of the reported netlist on the same data, at its last timestep.
    reported : EnergyReport
        What it spent.
    progress : Progress

    Raises
    ------
    InputError
        When the data do not fit the baseline.
    """
    seen = observe(Reference(netlist, spikes=True), data, (scored, operations), batch=BATCH, progress=progress)
    found = seen[scored].scores()
    values = tuple(each.value for each in found)
    return stop(netlist, seen[operations], values, name=name, measure=found[-1].measure, score=score, reported=reported)


def stop(
    netlist: Netlist,
    counts: Counts,
    scores: tuple[float, ...],
    *,
    name: str,
    measure: str,
    score: float,
    reported: EnergyReport,
) -> Baseline:
    """Find the first timestep of a run that is good enough, and what was spent by then.

    Parameters
    ----------
    netlist : Netlist
    counts : Counts
        Of a run that kept its timesteps apart.
    scores : tuple of float
        Of the same run, one per answer of the netlist.
    name : str
    measure : str
        What the scores are.
    score, reported
        As of `run_baseline`.
    """
    timestep = next((t for t, share in zip(netlist.answers, scores, strict=True) if share >= score), None)
    energy = None if timestep is None else paper_energy_by_timestep(counts, reported.prices)[timestep - 1]
    sops = None if timestep is None else sops_by_timestep(counts)[timestep - 1]
    return Baseline(
        name=name,
        content_hash=netlist.content_hash,
        phi=phi_range(netlist),
        answers=netlist.answers,
        measure=measure,
        score_by_timestep=scores,
        timestep=timestep,
        energy=energy,
        sops=sops,
        energy_ratio=None if energy is None or not reported.e_snn else float(energy / reported.e_snn),
        sops_ratio=None if sops is None or not reported.sops else sops / reported.sops,
        samples=counts.samples,
    )
