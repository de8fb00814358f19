"""NIR, profile "adafire" version 1: a netlist in the nodes of NIR and a little metadata (docs/formats.md).

A reader that knows the profile's page and the NIR standard reproduces every spike. Beside it the graph's
metadata tell how the netlist was made up, so that reading the file gives the identical netlist back.
"""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np

from toolchain.exchange.loss_report import Imported, Loss, LossReport
from toolchain.exchange.nir.explicit import EXPLICIT, to_nir_explicit
from toolchain.exchange.nir.file import profile_of, read_graph, write_graph
from toolchain.exchange.nir.growing import GrowingGraph, exact_float32, grow, in_full, metadata
from toolchain.exchange.nir.leaky import Coding, Reset
from toolchain.exchange.nir.standard import import_graph
from toolchain.exchange.nir.structure import check_version, first_difference, restore
from toolchain.exchange.nir.write_leaky import add_leaky, leaky_notes
from toolchain.files import whole
from toolchain.netlist import AdaFire, CubaLif, FormatError, LeakyReadout, Netlist, Readout


def write_nir(netlist: Netlist, path: Path | str) -> LossReport:
    """Write a netlist as NIR, in the compact profile.

    Parameters
    ----------
    netlist : Netlist
    path : path

    Returns
    -------
    LossReport
        What readers that do not know the profile will compute instead.

    Raises
    ------
    UnsupportedError
        When NIR has no node for a part of the network; names it.
    InputError
        When the file cannot be written.
    """
    graph, report = to_nir(netlist), losses(netlist)
    write_graph(graph, path)
    return report


def read_nir(path: Path | str) -> Netlist:
    """Read a NIR file: the identical netlist from a file of ours, else what its nodes say.

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is damaged or contradicts itself.
    UnsupportedError
        When a node means something that a netlist cannot express; names it.
    """
    return import_nir(path).netlist


def import_nir(
    path: Path | str,
    *,
    timesteps: int = 16,
    weight_bits: int = 8,
    dt: float | None = None,
    reset: Reset | None = None,
    input_bits: int = 8,
    coding: Coding | None = None,
) -> Imported:
    """Read a NIR file and report what was assumed; see `read_nir`.

    Parameters
    ----------
    path : path
    timesteps, weight_bits : int
        For files that do not say.
    dt, reset, input_bits, coding
        As `import_graph` takes them.
    """
    graph, file = read_graph(path), Path(path).name
    with whole(file):
        entries = profile_of(graph)
        if entries is not None:
            check_version(file, entries)
        if entries is None or "structure" not in entries:
            return import_graph(
                graph,
                file,
                timesteps=timesteps,
                weight_bits=weight_bits,
                dt=dt,
                reset=reset,
                input_bits=input_bits,
                coding=coding,
            )
        netlist = restore(file, graph)
        again = to_nir_explicit(netlist) if entries.get("profile") == EXPLICIT else to_nir(netlist)
        difference = first_difference(again.to_dict(), graph.to_dict())
    if difference is not None:
        raise FormatError(
            f"{file}:{difference}",
            "differs from what the adafire metadata say",
            "the file was changed: remove the metadata 'structure' to import its nodes as they are",
        )
    return Imported(netlist, LossReport("nir", ()))


def to_nir(netlist: Netlist) -> nir.NIRGraph:
    """Return a netlist as a NIR graph in the compact profile.

    Raises
    ------
    UnsupportedError
        When NIR has no node for a part of the network; names it.
    """
    return grow(netlist, _add_neurons, add_leaky, _add_readout).finish()


def _add_neurons(growing: GrowingGraph, population: AdaFire) -> int:
    shape = population.shape
    node = nir.IF(
        r=np.ones(shape, np.float32),
        v_threshold=exact_float32(population.name, "thresholds", in_full(population.threshold, shape)),
        v_reset=np.zeros(shape, np.float32),
        metadata=metadata(
            population=population.name,
            phi=population.phi,
            reset="subtract",
            compare=">=",
            v_init=np.ascontiguousarray(in_full(population.initial, shape), dtype=np.int64),
        ),
    )
    return growing.add("if", node, *growing.deliver(population))


def _add_readout(growing: GrowingGraph, population: Readout) -> int:
    r = in_full(population.scale, population.shape).astype(np.float64)
    node = nir.I(r=r, metadata=metadata(population=population.name))
    return growing.add("readout", node, *growing.deliver(population))


def losses(netlist: Netlist) -> LossReport:
    """Say what an importer that does not know the profile computes from a compact file."""
    longest = max((p.phi for p in netlist.populations if isinstance(p, AdaFire)), default=0)
    found = [Loss("graph", "NIR", "timesteps, input quantisation and the width of the membrane are metadata")]
    if longest:
        found += [
            Loss("IF", "NIR", "reset by subtraction, '>=', bursts and initial potential are metadata, not part of IF"),
            Loss("IF", "norse", "resets to zero and fires at > threshold, one spike at most"),
            Loss("IF", "spikingjelly", "resets to zero, one spike at most"),
            Loss("IF", "sinabs", "fires without limit to a burst and holds the potential above -threshold"),
            Loss("IF", "snntorch", "leaks by a factor 0.9 per timestep"),
        ]
    found += [
        Loss(p.name, "NIR", note)
        for p in netlist.populations
        if isinstance(p, CubaLif | LeakyReadout)
        for note in leaky_notes(p)
    ]
    if longest > 1:
        found.append(Loss("IF", "NIR", f"bursts of up to {longest} need a reader that knows 'phi'"))
    if netlist.alpha:
        found.append(Loss("graph", "NIR", "early exit (alpha) is metadata"))
    if netlist.input.coding == "frames":
        found.append(Loss(netlist.input.name, "NIR", "frame coding is metadata"))
    return LossReport("nir", tuple(found))
