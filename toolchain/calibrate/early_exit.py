"""Input-aware adaptive timesteps: the confidence that lets a sample stop, from calibration data.

With a base given, alpha_t follows eq. 15 of the appendix (`sim.early_exit.alpha_schedule`): it asks for
least confidence where the outputs are least settled. Otherwise alpha_t is fitted timestep by
timestep: the least confidence at which stopping costs no right decision, right being what the ANN
decides, and a margin. It is fitted on two splits together, the calibration pictures and the means of
pairs of them: the ANN was often trained on the former and is surer of them than of new pictures; the
latter lie near its decision boundaries, where stopping too early shows. The margin is for what a
thousand pictures do not show: the fit rests on the few of them that are hardest to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sim import alpha_schedule, compile_netlist, confidence
from sim.early_exit import exit_timesteps
from toolchain.calibrate.calibration_data import CalibrationData
from toolchain.netlist import InputError, Netlist
from toolchain.netlist.provenance import EarlyExitRecord, Exits
from toolchain.network import FloatNetwork, SampleTensor, chunks, reference_outputs

#: Uncertainty (1 - confidence) that may be left, relative to what the fit found harmless (docs/search.md).
MARGIN = 0.001


def fit_alpha(sure: np.ndarray, right: np.ndarray, margin: float = MARGIN) -> tuple[float, ...]:
    """Return the confidence per timestep that keeps the share of right decisions.

    Parameters
    ----------
    sure : ndarray (T, N), float64
        Confidence of each sample at each timestep.
    right : ndarray (T, N), bool
        Whether its decision there is right.
    margin : float
        Share, 0 to 1, of the uncertainty at which stopping loses nothing (net of what it gains) on
        these samples that is allowed.

    Returns
    -------
    tuple of float
        A sample stops at t if its confidence exceeds ``alpha[t - 1]``.

    Examples
    --------
    >>> fit_alpha(np.array([[0.9, 0.5, 0.4], [1, 1, 1]]), np.array([[1, 1, 0], [1, 1, 1]], bool), 0.5)
    (0.7, 1.0)
    """
    timesteps, samples = sure.shape
    running, lost = np.ones(samples, bool), 0
    alpha: list[float] = []
    for t in range(timesteps - 1):
        order = np.flatnonzero(running)
        order = order[np.argsort(-sure[t, order], kind="stable")]
        harm = lost + np.cumsum(right[-1, order].astype(np.int64) - right[t, order].astype(np.int64))
        over = np.flatnonzero(harm > 0)
        if over.size:
            harmful = float(sure[t, order[over[0]]])
            alpha.append(max(harmful, 1 - margin * (1 - harmful)))
        else:
            # Even the last one may stop, so all may; a confidence is never below 0.
            alpha.append(-1.0)
        stopped = running & (sure[t] > alpha[-1])
        lost += int((right[-1] & stopped).sum() - (right[t] & stopped).sum())
        running &= ~stopped
    return (*alpha, 1.0)


def check_early_exit(network: FloatNetwork, *, frames: bool) -> None:
    """Raise unless a network makes a decision that could be taken early.

    Parameters
    ----------
    network : FloatNetwork
    frames : bool
        Whether samples are frames.

    Raises
    ------
    InputError
        When there is no single list of at least two classes, or samples are frames.
    """
    if network.classifier is None or network.classifier.shape[0] < 2:
        raise InputError("early_exit", "the network has no single list of classes to decide on", "leave it out")
    if frames:
        raise InputError("early_exit", "alpha is calibrated on pictures, not on frames", "leave it out")


@dataclass(frozen=True)
class EarlyExitCalibration:
    """How alpha is chosen.

    Parameters
    ----------
    base : float or None
        alpha_base of eq. 15, 0 to 1; None to fit alpha.
    """

    base: float | None = None

    def __call__(self, netlist: Netlist, network: FloatNetwork, data: CalibrationData) -> Netlist:
        """Return the netlist with alpha, and what calibration saw in its provenance.

        Parameters
        ----------
        netlist : Netlist
            With direct coding and one readout of shape (classes,).
        network : FloatNetwork
            The ANN.
        data : CalibrationData

        Raises
        ------
        InputError
            When the netlist makes no decision that could be taken early.
        """
        check_early_exit(network, frames=netlist.input.coding == "frames")
        classifier = netlist.classifier
        assert classifier is not None
        scale, simulator = classifier.scale, compile_netlist(netlist)
        splits: dict[str, SampleTensor] = {"samples": data.x, "pairs": _Pairs(data.x)}
        parts = chunks(len(data), network.widest)
        readouts = {
            name: np.concatenate([simulator.run(netlist.input.encode(s[p].double().numpy())).readout for p in parts], 1)
            for name, s in splits.items()
        }
        wanted = {name: reference_outputs(network, s)[0].argmax(1).numpy() for name, s in splits.items()}
        right = {name: (r * scale).argmax(2) == wanted[name] for name, r in readouts.items()}
        if self.base is None:
            sure = np.concatenate([confidence(r, scale) for r in readouts.values()], axis=1)
            alpha = fit_alpha(sure, np.concatenate(list(right.values()), axis=1))
        else:
            alpha = alpha_schedule(readouts["samples"], scale, base=self.base)
        record = EarlyExitRecord(
            **{name: _exits(readouts[name], right[name], scale, alpha) for name in splits},
            base=self.base,
            margin=MARGIN if self.base is None else None,
        )
        return replace(netlist, alpha=alpha, provenance=replace(netlist.provenance, early_exit=record))


class _Pairs:
    """The mean of every sample and the one before it; of the first and the last."""

    def __init__(self, x: SampleTensor) -> None:
        self._x, self.shape = x, x.shape

    def __getitem__(self, part: slice) -> torch.Tensor:
        start, stop, _ = part.indices(self.shape[0])
        before = torch.cat([self._x[start - 1 : start] if start else self._x[-1:], self._x[start : stop - 1]])
        return (self._x[start:stop] + before) / 2


def _exits(readout: np.ndarray, right: np.ndarray, scale: np.ndarray, alpha: Sequence[float]) -> Exits:
    """Return agreement with the ANN at the end and at the exit, and mean timesteps."""
    exits = exit_timesteps(readout, scale, alpha)
    return Exits(
        full_agreement=float(right[-1].mean()),
        agreement=float(right[exits - 1, np.arange(len(exits))].mean()),
        mean_timesteps=float(exits.mean()),
    )
