"""A netlist from a netx file (.net): ours back, and slayer's where it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolchain.exchange.loss_report import Imported, LossReport
from toolchain.exchange.netx.layers import FileLayer, NetxFile, read_integer, read_integers, read_text
from toolchain.exchange.netx.slayer import SlayerFile
from toolchain.exchange.netx.write import ADAFIRE, ADAFIRE_SUM, VERSION
from toolchain.files import Guarded, open_guarded, whole
from toolchain.netlist import (
    AdaFire,
    Connection,
    FormatError,
    Input,
    Netlist,
    Population,
    Provenance,
    Readout,
    Shape,
)


def read_netx(path: Path | str, *, timesteps: int | None = None) -> Imported:
    """Read a netx file.

    Parameters
    ----------
    path : path
    timesteps : int, optional
        T for files that are not ours; by default what the file says of its simulation.

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is damaged or contradicts itself.
    UnsupportedError
        When a layer means something that a netlist cannot express; names it.
    """
    with open_guarded(path, "a netx file (.net)") as file, whole(file.file):
        return _OwnFile(file).read() if "adafire" in file else SlayerFile(file, timesteps).read()


class _OwnFile(NetxFile):
    """A file that `write_netx` wrote."""

    def read(self) -> Imported:
        header = self.file.child("adafire")
        version = header.integer("version")
        if version != VERSION:
            raise FormatError(header.where, f"version {version} found, expected {VERSION}", "use a newer adafire")
        if self.input_shape is None:
            raise FormatError(self.file.where, "there is no input layer")
        populations: list[Population] = [self._input(header, self.input_shape)]
        connections: list[Connection] = []
        for layer in self.layers:
            operators = self.operators(layer, populations[-1].shape)
            population = self._population(layer)
            connections.append(Connection(populations[-1].name, population.name, operators))
            populations.append(population)
        netlist = Netlist(
            tuple(populations),
            tuple(connections),
            header.integer("timesteps"),
            weight_bits=header.integer("weight_bits"),
            membrane_bits=header.integer("membrane_bits"),
            alpha=tuple(float(a) for a in header.array("alpha").astype(np.float64).ravel()),
            provenance=Provenance(imported=self.file.file),
        )
        if header.text_attribute("content_hash") != netlist.content_hash:
            raise FormatError(header.where, "its content is not what its hash says", "export it again")
        return Imported(netlist, LossReport("netx", ()))

    def _input(self, header: Guarded, shape: Shape) -> Input:
        name, scale = header.text_attribute("input"), header.attribute("input_scale")
        coding: Any = header.text_attribute("coding")  # checked by Input
        if not isinstance(scale, float):
            raise FormatError(header.where, "input_scale is not what it should be")
        mean, std = (header.array(n).astype(np.float64) for n in ("mean", "std"))
        signed = bool(header.integer("input_signed"))
        return Input(name, shape, header.integer("input_bits"), signed, scale, mean, std, coding)

    def _population(self, layer: FileLayer) -> AdaFire | Readout:
        shape, neuron = self.shape_of(layer), layer.group.child("neuron")
        kind, name = read_text(neuron, "type"), read_text(neuron, "population")
        bias, scale = read_integers(layer.group, "bias"), neuron.array("scale").astype(np.float64)
        if kind == ADAFIRE_SUM:
            return Readout(name, shape, bias, scale)
        if kind != ADAFIRE:
            raise FormatError(neuron.at("type"), f"{kind!r:.40} found, expected {ADAFIRE} or {ADAFIRE_SUM}")
        return AdaFire(
            name,
            shape,
            read_integer(neuron, "phi"),
            read_integers(neuron, "vThMant"),
            bias,
            read_integers(neuron, "vInit"),
            scale,
        )
