"""Input-aware adaptive timesteps: a sample stops as soon as its decision is confident.

Semantics, section 8 (eq. 15 and Algorithm 2 of the appendix of Wang et al., AAAI 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim import gpu
from sim.activity import Activity, Counter
from sim.lines import Lines, run_group
from sim.processor import exact_arithmetic, find_device
from sim.reference import CHUNK_BYTES, Simulator, chunk_of, compile_netlist
from sim.threads import for_each
from toolchain.netlist import AnyReadout, InputError, Netlist, check_payloads

#: Payloads of a block and potentials of one chunk of samples, in bytes: twice what a whole run takes, since later
#: blocks run half of the samples and less, and a call must still be worth its start (docs/performance.md).
EXIT_BYTES = 2 * CHUNK_BYTES


def confidence(readout: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return how sure a decision is: 1 - H(softmax(summed logits)) / ln(classes).

    Parameters
    ----------
    readout : ndarray (..., classes), integer
        Running sum of the readout.
    scale : ndarray (classes,), float64
        Real value of one unit of the running sum.

    Returns
    -------
    ndarray (...), float64
        0 for a uniform distribution, 1 for certainty.
    """
    logits = readout * scale
    logits = logits - logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    return np.asarray(1 - entropy / np.log(readout.shape[-1]))


def alpha_schedule(
    readout: np.ndarray, scale: np.ndarray, *, base: float = 0.6, delta: float = 1.0
) -> tuple[float, ...]:
    """Return the confidence that each timestep asks for, from a calibration run.

    ``alpha_t = base + (1 - base) * exp(-(E_t - E_min) / delta)`` with E_t the mean normalised
    entropy at t.

    Parameters
    ----------
    readout : ndarray (T, N, classes), integer
        Running sums of the calibration samples.
    scale : ndarray (classes,), float64
    base : float
        Least confidence that stops a sample, 0 to 1.
    delta : float
        Temperature of the schedule, positive.

    Raises
    ------
    InputError
        When `base` or `delta` is out of range.
    """
    if not 0 <= base <= 1:
        raise InputError("alpha base", f"{base} found, expected 0 to 1")
    if not delta > 0:
        raise InputError("alpha delta", f"{delta} found, expected a positive number")
    entropy = (1 - confidence(readout, scale)).mean(1)
    return tuple(float(a) for a in base + (1 - base) * np.exp(-(entropy - entropy.min()) / delta))


def exit_timesteps(readout: np.ndarray, scale: np.ndarray, alpha: Sequence[float]) -> np.ndarray:
    """Return the timestep, 1 to T, at which each sample of a complete run would have stopped.

    Parameters
    ----------
    readout : ndarray (T, N, classes), integer
    scale : ndarray (classes,), float64
    alpha : sequence of float, one per timestep

    Returns
    -------
    ndarray (N,), int64
        The first t whose confidence exceeds ``alpha[t - 1]``, T where none does.
    """
    sure = confidence(readout, scale) > np.asarray(alpha)[:, np.newaxis]
    sure[-1] = True
    return np.asarray(sure.argmax(0) + 1)


@dataclass(frozen=True, eq=False)
class EarlyExit:
    """What a run with early exit decided and spent.

    Parameters
    ----------
    timesteps : ndarray (N,), int64
        Timesteps that each sample ran, 1 to T.
    readout : ndarray (N, classes), int64
        Running sum at the exit.
    activity : Activity
        Spikes of each sample up to and including its exit, and none after; clipped potentials
        are not counted.
    """

    timesteps: np.ndarray
    readout: np.ndarray
    activity: Activity

    @property
    def mean_timesteps(self) -> float:
        """Timesteps per sample."""
        return float(self.timesteps.mean())


@dataclass(frozen=True, eq=False)
class EarlyExitSimulator:
    """A netlist ready to run batches in blocks of timesteps, dropping the samples that are sure.

    Parameters
    ----------
    simulator : Simulator
    classifier : Readout or LeakyReadout
        Of shape (classes,): what decides.
    alpha : tuple of float
        Confidence that stops a sample, one per timestep.
    block : int
        Timesteps that run between two looks at the confidence, at most.
    """

    simulator: Simulator
    classifier: AnyReadout
    alpha: tuple[float, ...]
    block: int

    def run(self, payloads: np.ndarray) -> EarlyExit:
        """Run one batch.

        Parameters
        ----------
        payloads : ndarray (N, *shape) for direct coding, (T, N, *shape) for frames; integer

        Raises
        ------
        InputError
            When the payloads are not what the input takes.
        """
        simulator = self.simulator
        source = simulator.netlist.input
        given = torch.from_numpy(np.ascontiguousarray(check_payloads(source, payloads, simulator.timesteps)))
        run = _EarlyExitRun(self, given.shape[1])
        parts = simulator.parts(given.shape[1])
        with exact_arithmetic():
            for_each(lambda part: run.chunk(given[:, part].to(simulator.device), part.start), parts)
        return run.result()


def compile_early_exit(
    netlist: Netlist,
    *,
    alpha: Sequence[float] | None = None,
    block: int | None = None,
    chunk: int | None = None,
    device: str | torch.device = "cpu",
) -> EarlyExitSimulator:
    """Prepare a netlist to run any number of batches with early exit.

    Parameters
    ----------
    netlist : Netlist
        With one readout of shape (classes,).
    alpha : sequence of float, optional
        Confidence that stops a sample, one per timestep; the netlist's own by default.
    block : int, optional
        Timesteps that run between two looks at the confidence, at most: blocks are made even. Small ones cost calls,
        large ones compute steps that nobody uses. The result does not depend on it. By default three, four of sixteen
        timesteps and more, which the event kernel serves at once (docs/performance.md).
    chunk : int, optional
        Samples that one core takes through a block together; by default as many as keep their payloads and
        potentials within `EXIT_BYTES`, or within a share of a GPU's memory.
    device : str or torch.device

    Raises
    ------
    InputError
        When there is no alpha, it does not fit the timesteps, or the readout is no decision.
    """
    alpha = netlist.alpha if alpha is None else tuple(alpha)
    classifier = netlist.classifier
    if netlist.radix is not None:
        raise InputError(
            "early exit", "the netlist's bursts are digits: an answer is there at the end of a window only"
        )
    if not alpha:
        raise InputError("early exit", "the netlist holds no alpha", "convert with `early_exit`, or give alpha")
    if len(alpha) != netlist.timesteps:
        raise InputError("early exit", f"alpha has {len(alpha)} values, expected {netlist.timesteps}")
    if classifier is None:
        raise InputError("early exit", "expected one readout of shape (classes,)")
    if block is None:
        block = 4 if netlist.timesteps >= 16 else min(3, -(-netlist.timesteps // 2))
    if block < 1:
        raise InputError("early exit", f"block {block} found, expected at least 1")
    if chunk is None:
        # A potential is kept as a float32, with few exceptions.
        limit = gpu.chunk_bytes(find_device(device), EXIT_BYTES)
        chunk = chunk_of(netlist, block + torch.float32.itemsize, limit)
    simulator = compile_netlist(netlist, chunk=chunk, device=device)
    return EarlyExitSimulator(simulator, classifier, alpha, block)


class _EarlyExitRun:
    """One batch with early exit, chunk by chunk, each on a core of its own."""

    def __init__(self, compiled: EarlyExitSimulator, samples: int) -> None:
        self._simulator = compiled.simulator
        self._netlist = compiled.simulator.netlist
        self._alpha = np.asarray(compiled.alpha)
        self._block = compiled.block
        self._classifier = compiled.classifier
        self._timesteps = np.zeros(samples, np.int64)
        self._readout = np.zeros((samples, *self._classifier.shape), np.int64)
        self._counter = Counter()

    def chunk(self, payloads: Tensor, start: int) -> None:
        """Run samples from `start` on until all have stopped; `payloads` is (1 or T, n, *shape)."""
        count, device = payloads.shape[1], payloads.device
        # The samples that still run, where in the states and the payloads they are.
        running = np.arange(count)
        states: dict[str, Tensor] = {}
        past: dict[str, Tensor] = {}
        done, total = 0, self._simulator.timesteps
        while done < total and running.size:
            # Blocks as even as may be: what is left, over as many as it takes.
            left = total - done
            steps = -(-left // -(-left // self._block))
            held = payloads.shape[0] == 1
            rows = torch.from_numpy(running).to(device)
            block = payloads if held else payloads[done : done + steps]
            lines = Lines(steps, {self._netlist.input.name: block if len(running) == count else block[:, rows]}, past)
            sums = np.empty(0)
            for group in self._simulator.groups:
                # Nothing goes on from the last block.
                keep = done + steps < total
                for layer, result in run_group(group, lines, states, rows=rows, keep_state=keep):
                    if not layer.population.emits:
                        sums = result.output.cpu().numpy()
            sure = confidence(sums, self._classifier.scale) > self._alpha[done : done + steps, np.newaxis]
            if done + steps == total:
                sure[-1] = True
            stopped = sure.any(0)
            used = np.where(stopped, sure.argmax(0) + 1, steps)
            for name, values in lines.spikes.items():
                self._counter.count(name, values, used)
            self._timesteps[start + running[stopped]] = done + used[stopped]
            self._readout[start + running[stopped]] = sums[used[stopped] - 1, np.flatnonzero(stopped)]
            stay = torch.from_numpy(np.flatnonzero(~stopped)).to(device)
            past = {name: payload[:, stay] for name, payload in lines.longest_past(self._netlist.connections).items()}
            running = running[~stopped]
            done += steps

    def result(self) -> EarlyExit:
        """Return the whole batch."""
        samples, steps = len(self._timesteps), int(self._timesteps.sum())
        return EarlyExit(self._timesteps, self._readout, self._counter.activity(samples, steps, {}))
