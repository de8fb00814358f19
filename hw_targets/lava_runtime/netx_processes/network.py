"""lava-dl's netx `Network`, taught the neuron types ADAFIRE and ADAFIRE_SUM (files of `toolchain.exchange.netx`).

A layer of ours is one Process, a connection and its neurons, beside lava-dl's own blocks: ports in
(W, H, C) order, one step of latency, reset every `reset_interval` steps at the layer's offset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.lib.dl.netx.blocks.models import AbstractPyBlockModel
from lava.lib.dl.netx.hdf5 import Network
from lava.lib.dl.netx.utils import NetDict
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from hw_targets.lava_runtime.kernels import build_burst, build_chain
from toolchain.netlist import Conv, FormatError, Linear, Shape, per_channel

#: Greatest magnitude of a payload: it travels in 8 bits.
MAX_PAYLOAD = 255


class AdaFireBlock(AbstractProcess):
    """A connection and the AdaFire neurons, or the readout, that it feeds.

    Parameters
    ----------
    before, shape : tuple of int
        What it takes and what it emits, (C, H, W) or (features,); the ports are in reverse order.
    operator : Conv or Linear
    bias, initial : ndarray (C,) or `shape`, integer
    threshold : ndarray (C,) or None
        None for a readout, which emits its running sum.
    phi : int
    limit : int
        Magnitude at which the membrane potential saturates.
    reset_interval : int or None
        T; None for one sample without end.
    reset_offset : int
        Time step, counted from 1, at which the first payload arrives. Until then the block is silent.
    """

    def __init__(self, *, before: Shape, shape: Shape, **parameters: Any) -> None:
        super().__init__(before=before, shape=shape, **parameters)
        self.shape = tuple(reversed(shape))
        self.input_message_bits = 8
        self.output_message_bits = 8 if parameters["threshold"] is not None else 24
        self.inp = InPort(shape=tuple(reversed(before)))
        self.out = OutPort(shape=self.shape)
        self.u = Var(shape=shape, init=0)


@implements(proc=AdaFireBlock, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class AdaFireBlockModel(PyLoihiProcessModel):
    """Sends what the step before emitted, receives, integrates and fires (docs/semantics.md)."""

    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=8)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    u: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        shape: Shape = proc_params["shape"]
        self.kernel, _ = build_chain((proc_params["operator"],), proc_params["before"], MAX_PAYLOAD)
        self.bias = per_channel(proc_params["bias"], shape)
        self.initial = per_channel(proc_params["initial"], shape)
        self.limit: int = proc_params["limit"]
        self.fires = proc_params["threshold"] is not None
        if self.fires:
            self.threshold = per_channel(proc_params["threshold"], shape)
            self.burst = build_burst(self.threshold, proc_params["phi"], self.limit)
        self.emitted = np.zeros(tuple(reversed(shape)), np.int32)

    def run_spk(self) -> None:
        """Run one step."""
        self.out.send(self.emitted)
        arrived = self.inp.recv().transpose()
        local, interval = self.time_step - self.proc_params["reset_offset"], self.proc_params["reset_interval"]
        if local < 0:
            return
        if (local % interval if interval else local) == 0:
            self.u[...] = self.initial
        total = self.u + self.bias + self.kernel(arrived[None])[0].astype(np.int64)
        if self.fires:
            total = np.clip(total, -self.limit, self.limit)
            burst = self.burst(total)
            self.emitted = burst.transpose().astype(np.int32)
            total = total - burst * self.threshold
        else:
            self.emitted = total.transpose().astype(np.int32)
        self.u[...] = total


class AdaFireNetwork(Network):
    """lava-dl's `Network` for files with AdaFire layers; layers of other types are its own affair."""

    def __init__(self, net_config: str, **options: Any) -> None:
        self._before: Shape = ()
        super().__init__(net_config=net_config, **options)
        # lava-dl leaves the file open.
        self.net_config.f.close()

    def _create(self) -> list[AbstractProcess]:
        header = self.net_config.f.get("adafire")
        if header is None:
            raise FormatError(str(self.filename), "has no AdaFire layers", "load it with lava-dl's own Network")
        self._limit = 2 ** (int(header.attrs["membrane_bits"]) - 1) - 1
        self._before = tuple(int(n) for n in self.net_config["layer"][0]["shape"])
        return list(super()._create())

    def create_conv(self, layer_config: NetDict, input_shape: Shape, **options: Any) -> tuple[AbstractProcess, str]:
        """Create a convolutional layer."""
        if not _is_ours(layer_config):
            return super().create_conv(layer_config, input_shape, **options)
        padding = tuple((int(p), int(p)) for p in layer_config["padding"])
        operator = Conv(
            layer_config["weight"],
            tuple(int(s) for s in layer_config["stride"]),
            padding,
            tuple(int(d) for d in layer_config["dilation"]),
            int(layer_config["groups"]),
        )
        return self._block("Conv", layer_config, operator, options)

    def create_dense(self, layer_config: NetDict, **options: Any) -> tuple[AbstractProcess, str]:
        """Create a dense layer; it takes the layer before flattened, in C order of (C, H, W)."""
        if not _is_ours(layer_config):
            return super().create_dense(layer_config, **options)
        operator = Linear(layer_config["weight"])
        self._before = (operator.weight.shape[1],)
        return self._block("Dense", layer_config, operator, options)

    def _block(
        self, kind: str, layer: NetDict, operator: Conv | Linear, options: dict[str, Any]
    ) -> tuple[AbstractProcess, str]:
        shape = tuple(int(n) for n in layer["shape"])
        neuron = layer["neuron"]
        fires = neuron["type"] == "ADAFIRE"
        block = AdaFireBlock(
            name=f"{neuron.f['population'][()].decode()}",
            before=self._before,
            shape=shape,
            operator=operator,
            bias=layer["bias"],
            threshold=neuron["vThMant"] if fires else None,
            initial=neuron.f["vInit"][()] if fires else np.zeros(shape[:1], np.int64),
            phi=int(neuron.f["phi"][()]) if fires else 0,
            limit=self._limit,
            reset_interval=options["reset_interval"],
            reset_offset=options["reset_offset"],
        )
        self._before = shape
        channel, height, width = (*shape, 1, 1)[:3]
        return block, Network._table_str(type_str=kind, width=width, height=height, channel=channel)


def _is_ours(layer: NetDict) -> bool:
    return "neuron" in layer.keys() and layer["neuron"]["type"] in ("ADAFIRE", "ADAFIRE_SUM")  # noqa: SIM118


@implements(proc=AdaFireNetwork, protocol=LoihiProtocol)
class AdaFireNetworkModel(AbstractPyBlockModel):
    """The network as its layers."""
