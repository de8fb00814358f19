"""A netlist as a model that NeuroBench measures with its own metrics.

Source: Yik et al., "The neurobench framework for benchmarking neuromorphic computing algorithms and
systems", Nature Communications 16, 2025. NeuroBench looks at a model through hooks on torch layers: connections are
`nn.Linear` and `nn.Conv*` layers (see `synapse_layers`), activations are the `Fire` modules.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from toolchain.exchange.torch_modules.norse import Fire, NetlistCell, State
from toolchain.netlist import BackendError, Netlist


class Classifier(nn.Module):
    """A whole run of a netlist: payloads in, classes out.

    Parameters
    ----------
    netlist : Netlist
        With one readout.
    """

    def __init__(self, netlist: Netlist) -> None:
        super().__init__()
        self.netlist = netlist
        self.cell = NetlistCell(netlist)
        self.register_buffer("scale", torch.from_numpy(netlist.readouts[0].scale.copy()))
        self.scale: Tensor

    @torch.no_grad()
    def forward(self, payloads: Tensor) -> Tensor:
        """Return the class (N,) int64 of each sample.

        Parameters
        ----------
        payloads : Tensor (N, *shape) for direct coding, (N, T, *shape) for frames
            What the input emits, see `Input.encode`.
        """
        frames = self.netlist.input.coding == "frames"
        state: State | None = None
        total = payloads
        for t in range(self.netlist.timesteps):
            total, state = self.cell(payloads[:, t] if frames else payloads, state)
        return (total.flatten(2).sum(2) if total.ndim > 2 else total).mul(self.scale).argmax(1)


def neurobench_model(netlist: Netlist) -> Any:
    """Return a `neurobench.models.TorchModel`, ready for `neurobench.benchmarks.Benchmark`.

    Raises
    ------
    BackendError
        When NeuroBench is not installed.
    UnsupportedError
        When the netlist has several readouts.

    Notes
    -----
    `SynapticOperations` then gives, per sample, Effective_MACs + Effective_ACs = `effective` of
    `toolchain.energy.count`: events through weights that are not zero. Which of the two an event
    is, NeuroBench decides by whether a layer's input at a timestep happens to hold 0 and 1 only.
    """
    try:
        from neurobench.models import TorchModel
    except ImportError as error:
        raise BackendError("neurobench", f"is not installed ({error})", "pip install 'adafire[peers]'") from None
    model = TorchModel(Classifier(netlist))
    model.add_activation_module(Fire)
    return model
