"""What a spiking network really does on data: how far it is from the ANN, and what it spends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sim import Activity, compile_netlist
from toolchain.calibrate import CalibrationData
from toolchain.netlist import Measured, Netlist, TaskName, fan_outs
from toolchain.network import FloatNetwork, SpikingNetwork, reference_outputs
from toolchain.quantize import Precision, quantize
from toolchain.tasks import same_decisions, symmetric_divergence


def operations(netlist: Netlist, activity: Activity) -> float:
    """Return the synaptic operations per sample, those of the input left out (semantics, section 9)."""
    synapses = fan_outs(netlist.connections, {p.name: p.shape for p in netlist.populations})
    spent = sum(
        int((activity.payloads[p.name] * synapses[p.name]).sum()) for p in netlist.spiking if p.name in synapses
    )
    return spent / activity.samples


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures spiking networks against the ANN they come from, on data kept for that.

    Parameters
    ----------
    network : FloatNetwork
        The ANN, before any calibration.
    data : CalibrationData
    precision : Precision
    task : TaskName or None
        What the network is for: how outputs are compared.
    """

    network: FloatNetwork
    data: CalibrationData
    precision: Precision
    task: TaskName | None = None

    @cached_property
    def reference(self) -> tuple[Tensor, ...]:
        """The ANN's outputs."""
        return reference_outputs(self.network, self.data.x)

    def measure(self, spiking: SpikingNetwork) -> Measured:
        """Quantise the network and run it."""
        return self.measure_netlist(quantize(spiking, self.precision))

    def measure_netlist(self, netlist: Netlist) -> Measured:
        """Run a netlist."""
        batch = compile_netlist(netlist).run(self.data.emitted(slice(None)), activity=True)
        logits = [
            torch.from_numpy(batch.readouts[r.name][-1] * r.scale.reshape(-1, *(1 for _ in r.shape[1:])))
            / netlist.numbers.timesteps
            for r in netlist.readouts
        ]
        assert batch.activity is not None
        pairs = list(zip(logits, self.reference, strict=True))
        return Measured(
            divergence=sum(symmetric_divergence(o, r, self.task) for o, r in pairs),
            agreement=float(np.mean([same_decisions(o, r, self.task) for o, r in pairs])),
            operations=operations(netlist, batch.activity),
        )
