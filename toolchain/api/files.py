"""Netlists in files: adafire's own, and those of others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from toolchain.exchange import Format, LossReport, export_netlist, import_netlist
from toolchain.files import read_netlist, write_netlist
from toolchain.netlist import Netlist


def read(
    path: str | Path,
    *,
    timesteps: int | None = None,
    weight_bits: int = 8,
    dt: float | None = None,
    reset: Literal["zero", "subtract"] | None = None,
    input_bits: int = 8,
    coding: Literal["direct", "frames"] | None = None,
) -> Netlist:
    """Read a netlist: adafire's own (.h5), or one that ``adafire import`` takes (.nir, .net).

    Parameters
    ----------
    path : path
    timesteps, weight_bits, dt, reset, input_bits, coding
        For files of other tools, what they do not say; as `import_netlist` takes them.

    Raises
    ------
    InputError, FormatError, UnsupportedError
        When there is no such file, it is damaged, or says what a netlist cannot.
    """
    path = Path(path)
    if path.suffix == ".h5":
        return read_netlist(path)
    imported = import_netlist(
        path,
        timesteps=timesteps,
        weight_bits=weight_bits,
        dt=dt,
        reset=reset,
        input_bits=input_bits,
        coding=coding,
    )
    return imported.netlist


def write(netlist: Netlist, path: str | Path) -> None:
    """Write a netlist (.h5), whole or not at all: the same netlist, the same bytes."""
    write_netlist(netlist, Path(path))


def export(netlist: Netlist, path: str | Path, to: Format = "nir") -> LossReport:
    """Write a netlist in another format; what that cannot carry is listed, or refused by name.

    Parameters
    ----------
    netlist : Netlist
    path : path
    to : {"nir", "nir-explicit", "netx"}

    Raises
    ------
    UnsupportedError
        When the format cannot express the network.
    """
    return export_netlist(netlist, Path(path), to)
