"""Files of other tools by their format: export by its name, import by what the file holds, whatever it is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from toolchain.exchange.loss_report import Imported, Loss, LossReport
from toolchain.exchange.netx import read_netx, write_netx
from toolchain.exchange.nir import import_nir, write_nir, write_nir_explicit
from toolchain.files import open_guarded
from toolchain.netlist import FormatError, InputError, Netlist

#: The formats of an export.
Format = Literal["nir", "nir-explicit", "netx"]
_WRITERS = {"nir": write_nir, "nir-explicit": write_nir_explicit, "netx": write_netx}


def export_netlist(netlist: Netlist, path: Path | str, to: Format = "nir") -> LossReport:
    """Write a netlist in another tool's format.

    Parameters
    ----------
    netlist : Netlist
    path : path
    to : str
        ``"nir"``: bursts are metadata; ``"nir-explicit"``: standard nodes only; ``"netx"``: for lava-dl.

    Returns
    -------
    LossReport
        What the format cannot carry, and what other readers compute instead.

    Raises
    ------
    UnsupportedError
        When the format has no place for a part of the network; names it.
    InputError
        When there is no such format, or the file cannot be written.
    """
    if to not in _WRITERS:
        raise InputError("to", f"{to!r} found, expected one of {', '.join(_WRITERS)}")
    report, tail = _WRITERS[to](netlist, path), netlist.provenance.tail
    if tail is None:
        return report
    lost = Loss("graph", "others", f"the network's own outputs need the host, which does not come along: {tail}")
    return replace(report, losses=(*report.losses, lost))


def import_netlist(
    path: Path | str,
    *,
    timesteps: int | None = None,
    weight_bits: int = 8,
    dt: float | None = None,
    reset: Literal["zero", "subtract"] | None = None,
    input_bits: int = 8,
    coding: Literal["direct", "frames"] | None = None,
) -> Imported:
    """Read a NIR or netx file.

    Parameters
    ----------
    path : path
    timesteps, weight_bits : int
        For files that do not say; 16 timesteps by default.
    dt : float, optional
        Length of a timestep in seconds: NIR files with leaky neurons or delays need it.
    reset : {"zero", "subtract"}, optional
        How the neurons of a NIR file forget a spike; by default to zero where they leak, as NIR says, and by
        subtraction where they do not, as AdaFire neurons do.
    input_bits : int
        Width of the input's payload of a NIR file, 1 to 8: one bit for events, which are 0 or 1; else signed.
    coding : {"direct", "frames"}, optional
        What a NIR file's network sees: one picture, held, or a frame at each timestep. By default frames where neurons
        leak, delays are set or they reset to zero, as what was trained spiking does, and a picture else.

    Returns
    -------
    Imported
        The netlist, and what was assumed or lost.

    Raises
    ------
    InputError
        When there is no such file, it needs a dt, or says another coding itself.
    FormatError
        When the file is neither, or damaged.
    UnsupportedError
        When it means something that a netlist cannot express; names it.
    """
    with open_guarded(path, "a NIR or netx file") as root:
        kinds = {"node": "nir", "layer": "netx", "format": "netlist"}
        found = {kind for entry, kind in kinds.items() if entry in root or entry in root.attribute_names()}
    if "nir" in found:
        imported = import_nir(
            path,
            timesteps=timesteps or 16,
            weight_bits=weight_bits,
            dt=dt,
            reset=reset,
            input_bits=input_bits,
            coding=coding,
        )
    elif "netx" in found:
        imported = read_netx(path, timesteps=timesteps)
    else:
        fix = "it is a netlist already: use it as it is" if "netlist" in found else None
        raise FormatError(str(path), "is neither a NIR graph nor a netx file", fix)
    said = imported.netlist.input.coding
    if coding not in (None, said):
        raise InputError("coding", f"{coding!r} found, {path} itself says {said!r}", "leave `coding` out")
    return imported
