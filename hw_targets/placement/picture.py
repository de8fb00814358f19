"""The picture of a placement: how full each core is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hw_targets.placement.placement import Placement
from toolchain.files import replacing


def draw(placement: Placement, path: Path) -> None:
    """Write one row of bars per limited resource, one bar per core, coloured by population.

    Parameters
    ----------
    placement : Placement
    path : Path
        The format follows the suffix: .png, .svg, .pdf.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    limited = [name for name in placement.used[0] if any(limit[name] is not None for limit in placement.limits)]
    names = list(dict.fromkeys(t.population for t in placement.tiles))
    main = np.zeros(placement.cores, dtype=int)
    for tile in reversed(placement.tiles):
        main[tile.core] = names.index(tile.population)
    order = np.lexsort((np.arange(placement.cores), np.asarray(placement.chips)))
    chips = np.asarray(placement.chips)[order]
    figure = Figure(figsize=(12, 1.2 + 1.6 * len(limited)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(limited), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, limited, strict=True):
        share = np.asarray([placement.used[core][name] / (placement.limits[core][name] or 1) for core in order])
        axis.bar(np.arange(placement.cores), 100 * share, width=1.0, color=[f"C{main[core] % 10}" for core in order])
        axis.set_ylim(0, 105)
        axis.set_ylabel(f"{name.replace('_', ' ')}\n% of limit")
        for boundary in np.flatnonzero(np.diff(chips)) + 0.5:
            axis.axvline(boundary, color="black", linewidth=1)
    axes[-1].set_xlabel("core (lines part chips; colours tell populations apart)")
    figure.suptitle(f"{placement.target.title}: {placement.cores} cores on {placement.chip_count} chips")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png")
