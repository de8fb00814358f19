"""How far a network's outputs are from the ANN's: what a search compares, as the task takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.netlist import TaskName

#: Tasks whose outputs are no logits of classes.
_OF_VALUES: tuple[TaskName, ...] = ("detection", "regression")


def symmetric_divergence(outputs: Tensor, reference: Tensor, task: TaskName | None = None) -> float:
    """Return the symmetric Kullback-Leibler divergence of two outputs, KL(p, q) + KL(q, p), mean over all decisions.

    Parameters
    ----------
    outputs, reference : Tensor (N, channels, ...)
        In the network's own units; the reference is the ANN's.
    task : TaskName, optional
        By default, outputs are logits of classes.

    Notes
    -----
    Of logits of classes, along axis 1, of samples, pixels or points: distributions are their softmax, and of a single
    logit z that of (0, z), which is its sigmoid. The sum over classes of ``(p - q) * (ln p - ln q)`` is computed in
    float64 from the logits, so that no probability is ever zero.

    The outputs of a detector are no logits: classes, offsets and sizes lie side by side; nor are values. Each value is
    the mean of a normal distribution whose variance is that of the ANN's values in its channel, and two of these are
    ``(a - b)**2 / variance`` apart, as the definition gives for equal variances (S. Kullback, R. A. Leibler, "On
    information and sufficiency", Ann. Math. Stat. 22, 1951). Channels in which the ANN always says the same are left
    out.
    """
    if task in _OF_VALUES:
        return _normal_divergence(outputs.double(), reference.double())
    a, b = (torch.log_softmax(_classes(x.double()), 1) for x in (outputs, reference))
    return float(((a.exp() - b.exp()) * (a - b)).sum(1).mean())


def same_decisions(outputs: Tensor, reference: Tensor, task: TaskName | None = None) -> float:
    """Return the share of decisions that are alike, along axis 1; of a detector and of values, their correlation.

    Parameters
    ----------
    outputs, reference : Tensor (N, channels, ...)
    task : TaskName, optional
    """
    if task in _OF_VALUES:
        pair = torch.stack([outputs.double().flatten(), reference.double().flatten()])
        return float(torch.corrcoef(pair)[0, 1].nan_to_num())
    one, other = (_classes(x).argmax(1) for x in (outputs, reference))
    return float((one == other).double().mean())


def _classes(logits: Tensor) -> Tensor:
    """Return logits of at least two classes: a single one decides against 0."""
    return logits if logits.shape[1] > 1 else torch.cat([torch.zeros_like(logits), logits], 1)


def _normal_divergence(outputs: Tensor, reference: Tensor) -> float:
    rest = [axis for axis in range(reference.ndim) if axis != 1]
    variance = reference.var(rest, correction=0, keepdim=True)
    said = (variance > 0).expand_as(reference)
    found = ((outputs - reference) ** 2 / variance)[said]
    return float(found.mean()) if found.numel() else 0.0
