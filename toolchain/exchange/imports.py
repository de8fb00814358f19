"""Import by what a file holds, whatever it is called."""

from __future__ import annotations

from pathlib import Path

from toolchain.exchange.netx.read import read_netx
from toolchain.exchange.nir.compact import import_nir
from toolchain.exchange.nir.standard import Imported
from toolchain.files.guarded_hdf5 import open_guarded
from toolchain.netlist import FormatError


def import_file(path: Path | str, *, timesteps: int | None = None, weight_bits: int = 8) -> Imported:
    """Read a NIR or netx file.

    Parameters
    ----------
    path : path
    timesteps, weight_bits : int
        For files that do not say; 16 timesteps by default.

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is neither, or damaged.
    UnsupportedError
        When it means something that a netlist cannot express; names it.
    """
    with open_guarded(path, "a NIR or netx file") as root:
        kinds = {"node": "nir", "layer": "netx", "format": "netlist"}
        found = {kind for entry, kind in kinds.items() if entry in root or entry in root.attribute_names()}
    if "nir" in found:
        return import_nir(path, timesteps=timesteps or 16, weight_bits=weight_bits)
    if "netx" in found:
        return read_netx(path, timesteps=timesteps)
    fix = "it is a netlist already: use it as it is" if "netlist" in found else None
    raise FormatError(str(path), "is neither a NIR graph nor a netx file", fix)
