"""Do everything that a report of one netlist needs: run, verify, check, place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hw_targets.lava_runtime import lava_is_installed
from hw_targets.rules import check
from hw_targets.rules.capacity import placed
from hw_targets.target import Target, available_targets, load_target
from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.equivalence import EquivalenceReport, verify
from toolchain.evaluate import scoring
from toolchain.netlist import Netlist
from toolchain.network import FloatNetwork
from toolchain.report.baselines import check_baselines, run_baseline
from toolchain.report.measure import Measurement, measure
from toolchain.tasks import Decoder

#: Samples that a report runs on Lava by default.
LAVA_SAMPLES = 4


def converted_for(netlist: Netlist) -> Target | None:
    """Return the target that a netlist was converted for; a target file of one's own is not known by its name alone."""
    found = netlist.provenance.target
    return load_target(found) if found in available_targets() else None


def run_report(
    netlist: Netlist,
    data: Dataset,
    *,
    name: str,
    readout: str | None = None,
    decode: Decoder | None = None,
    ann: FloatNetwork | None = None,
    target: Target | None = None,
    lava: int | None = None,
    baselines: Mapping[str, Netlist] | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Measure a netlist, verify it on Lava, check and place it on a target, and run baselines to its score.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset
    name : str
        How the report calls the netlist.
    readout : str, optional
        Name of the readout that is scored, where there are several.
    decode : Decoder, optional
        Makes boxes of the outputs, for detection.
    ann : FloatNetwork, optional
        The network that it was converted from, to compare with.
    target : Target, optional
        What to check and place it on; nothing without.
    lava : int, optional
        Samples to run on Lava. By default `LAVA_SAMPLES` where Lava is installed, and none otherwise.
    baselines : mapping of str to Netlist, optional
        Other conversions of the same network by the name of their file, to compare at an equal score.
    progress : Progress

    Raises
    ------
    InputError
        When the data do not fit the netlist, or a baseline is of another network.
    BackendError
        When Lava was asked for and is not installed, or died.
    """
    if lava is None:
        lava = LAVA_SAMPLES if lava_is_installed() else 0
    baselines = baselines or {}
    scored = scoring(netlist, data, readout=readout, decode=decode)
    check_baselines(netlist, data, baselines, scored)
    equivalence = _on_lava(netlist, data, lava, progress) if lava else None
    measured = measure(
        netlist,
        data,
        name=name,
        readout=readout,
        decode=decode,
        ann=ann,
        equivalence=equivalence,
        check=None if target is None else check(netlist, target),
        placement=None if target is None else placed(netlist, target)[0],
        progress=progress,
    )
    if measured.score is None:
        return measured
    return replace(
        measured,
        baselines=tuple(
            run_baseline(
                other,
                data,
                name=other_name,
                scored=scoring(other, data, readout=readout, decode=decode, name=scored.name),
                score=measured.score,
                reported=measured.energy,
                progress=progress,
            )
            for other_name, other in baselines.items()
        ),
    )


def _on_lava(netlist: Netlist, data: Dataset, samples: int, progress: Progress) -> EquivalenceReport:
    return verify(netlist, data.select(np.arange(min(samples, len(data)))), "lava", progress=progress)
