"""Input-aware adaptive timesteps: the confidence that lets a sample stop, from calibration data.

alpha_t follows eq. 15 (`sim.early_exit.alpha_schedule`). Its base decides how much time is saved. The
appendix fixes it at 0.6; here it is, unless given, the least one at which early decisions are as often
the ANN's as those after all timesteps, on two splits: the calibration pictures, and the means of pairs of
them. The ANN was often trained on the former and is surer of them than of new pictures; the latter lie
near its decision boundaries, where stopping too early shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sim import alpha_schedule, compile_netlist
from sim.early_exit import exit_timesteps
from toolchain.netlist import InputError, Netlist
from toolchain.network import FloatNetwork
from toolchain.search.measure import reference_outputs

#: Bases that are tried, in ascending order.
BASES = (*(float(b) for b in np.round(1 - np.geomspace(0.6, 0.0005, 24), 5)), 1.0)


@dataclass(frozen=True)
class EarlyExitCalibration:
    """How alpha is chosen.

    Parameters
    ----------
    base : float or None
        alpha_base of eq. 15, 0 to 1; None to choose it by agreement with the ANN.
    loss : float
        Share of decisions that may cease to agree with the ANN.
    """

    base: float | None = None
    loss: float = 0.0

    def __call__(self, netlist: Netlist, network: FloatNetwork, x: torch.Tensor) -> Netlist:
        """Return the netlist with alpha, and what calibration saw in its provenance.

        Parameters
        ----------
        netlist : Netlist
            With direct coding and one readout of shape (classes,).
        network : FloatNetwork
            The ANN.
        x : Tensor (N, *source shape), float32
            Normalised calibration data.

        Raises
        ------
        InputError
            When the netlist makes no decision that could be taken early.
        """
        if len(netlist.readouts) != 1 or len(netlist.readouts[0].shape) != 1 or netlist.readouts[0].shape[0] < 2:
            raise InputError("--early-exit", "the network has no single list of classes to decide on")
        if netlist.input.coding != "direct":
            raise InputError(
                "--early-exit", "calibration of alpha takes pictures, not frames", "leave --early-exit out"
            )
        splits = [x, (x + x.roll(1, 0)) / 2]
        scale = netlist.readouts[0].scale
        simulator = compile_netlist(netlist)
        readouts = [simulator.run(netlist.input.encode(s.double().numpy())).readout for s in splits]
        wanted = [reference_outputs(network, s)[0].argmax(1).numpy() for s in splits]
        full = [float(np.mean((r[-1] * scale).argmax(1) == w)) for r, w in zip(readouts, wanted, strict=True)]
        history: list[dict[str, Any]] = []
        for base in BASES if self.base is None else (self.base,):
            alpha = alpha_schedule(readouts[0], scale, base=base)
            agreement, timesteps = _exits(readouts, wanted, scale, alpha)
            history.append({"base": base, "agreement": agreement, "mean_timesteps": timesteps})
            if all(a >= f - self.loss for a, f in zip(agreement, full, strict=True)):
                break
        chosen = history[-1]
        report = {
            **chosen,
            "full_agreement": full,
            "splits": ["pictures", "pairs"],
            "tried": history,
        }
        return replace(netlist, alpha=alpha, provenance={**netlist.provenance, "early_exit": report})


def _exits(
    readouts: Sequence[np.ndarray], wanted: Sequence[np.ndarray], scale: np.ndarray, alpha: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Return agreement with the ANN and mean timesteps of each split, from complete runs."""
    agreement, timesteps = [], []
    for readout, decisions in zip(readouts, wanted, strict=True):
        exits = exit_timesteps(readout, scale, alpha)
        taken = readout[exits - 1, np.arange(len(exits))]
        agreement.append(float(np.mean((taken * scale).argmax(1) == decisions)))
        timesteps.append(float(exits.mean()))
    return agreement, timesteps
