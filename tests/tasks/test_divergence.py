"""What a search compares: distributions of decisions, and of a detector's values."""

from math import exp, log

import pytest
import torch

from toolchain.tasks import same_decisions, symmetric_divergence


def kl(p, q):
    return sum(a * log(a / b) for a, b in zip(p, q, strict=True))


def sigmoid(z):
    return 1 / (1 + exp(-z))


def test_a_single_logit_is_a_sigmoid():
    """The softmax of one value is always 1: a search on such a network saw no difference at all."""
    one, other = 0.3, -1.2
    p, q = ((1 - sigmoid(z), sigmoid(z)) for z in (one, other))
    found = symmetric_divergence(torch.tensor([[one]]), torch.tensor([[other]]))
    assert found == pytest.approx(kl(p, q) + kl(q, p), rel=1e-6)


def test_pixels_count_as_samples_do():
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    rows = [x.movedim(1, -1).reshape(-1, 3) for x in (a, b)]
    assert symmetric_divergence(a, b, "segmentation") == pytest.approx(symmetric_divergence(*rows), rel=1e-12)
    assert same_decisions(a, b, "segmentation") == same_decisions(*rows)


def test_values_of_a_detector_are_means_of_normal_distributions():
    reference = torch.tensor([[[0.0, 2.0], [5.0, 5.0]]])  # the first channel has variance 1, the second never changes
    outputs = torch.tensor([[[1.0, 2.0], [9.0, 5.0]]])
    assert symmetric_divergence(outputs, reference, "detection") == 0.5
    assert symmetric_divergence(reference, reference, "detection") == 0
    assert symmetric_divergence(outputs, torch.ones(1, 2, 2), "detection") == 0
    assert same_decisions(reference, reference, "detection") == pytest.approx(1)
    assert same_decisions(-reference, reference, "detection") == pytest.approx(-1)
    assert same_decisions(outputs, torch.ones(1, 2, 2), "detection") == 0
