"""A small network and made-up data for every task: networks whose weights are known, so that nothing is trained."""

from pathlib import Path

import numpy as np

from toolchain.data import write_data

SIDE = 16

MODULES = '''
import torch
from torch import nn


def fixed(module, seed=0):
    torch.manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.4)
            nn.init.normal_(layer.bias, std=0.1)
    return module.eval()


class Blobs(nn.Module):
    """Says of every pixel what it is: colour channels are the classes, smoothed, at half the size and up again."""

    def __init__(self):
        super().__init__()
        self.smooth = nn.Conv2d(3, 3, 3, padding=1)
        self.coarse = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Conv2d(6, 3, 1)
        with torch.no_grad():
            for layer, scale in ((self.smooth, 1 / 9), (self.coarse, 1 / 9)):
                layer.weight.zero_()
                layer.bias.zero_()
                for c in range(3):
                    layer.weight[c, c] = scale
            self.head.weight.zero_()
            self.head.bias.zero_()
            for c in range(3):
                self.head.weight[c, c] = self.head.weight[c, c + 3] = 1.0

    def forward(self, x):
        fine = torch.relu(self.smooth(x))
        coarse = torch.relu(self.coarse(nn.functional.avg_pool2d(fine, 2)))
        up = nn.functional.interpolate(coarse, scale_factor=2, mode="nearest")
        return self.head(torch.cat([fine, up], 1))


class Foreground(Blobs):
    """One channel: whether a pixel is of class 1."""

    def forward(self, x):
        logits = super().forward(x)
        return logits[:, 1:2] - logits[:, 0:1]


class Boxes(nn.Module):
    """A one-stage detector: per cell of 4 x 4 pixels how much of class 0 and 1 is there, to be decoded."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.features.weight.zero_()
            self.features.bias.zero_()
            self.features.weight[0, 0] = self.features.weight[1, 1] = 1.0

    def forward(self, x):
        return nn.functional.avg_pool2d(torch.relu(self.features(x)), 4)


class Softmaxed(Boxes):
    """The same, with a tail on the host: probabilities of class 0, class 1 and nothing."""

    def forward(self, x):
        found = super().forward(x)
        nothing = 1 - found.sum(1, keepdim=True)
        return torch.softmax(8 * torch.cat([found, nothing], 1), 1)


class PointNet(nn.Module):
    """One class per cloud, with its max over points."""

    def __init__(self):
        super().__init__()
        self.points = fixed(nn.Sequential(nn.Conv1d(3, 16, 1), nn.ReLU(), nn.Conv1d(16, 24, 1), nn.ReLU()))
        self.head = fixed(nn.Linear(24, 4), 1)

    def forward(self, x):
        return self.head(self.points(x).amax(2))


class PartNet(nn.Module):
    """One class per point, from the point and from the cloud."""

    def __init__(self):
        super().__init__()
        self.points = fixed(nn.Sequential(nn.Conv1d(3, 16, 1), nn.ReLU()))
        self.head = fixed(nn.Conv1d(32, 3, 1), 2)

    def forward(self, x):
        each = self.points(x)
        whole = each.amax(2, keepdim=True).expand(-1, -1, x.shape[2])
        return self.head(torch.cat([each, whole], 1))


class Amounts(nn.Module):
    """How much of two colours is in the picture: values, not classes."""

    def __init__(self):
        super().__init__()
        self.features = fixed(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()))
        self.head = fixed(nn.Linear(8, 2), 1)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Shares(Amounts):
    """The same between 0 and 1, which the host computes."""

    def forward(self, x):
        return torch.sigmoid(super().forward(x))


def decode(outputs, shape):
    """Boxes of cells: a cell is one box of the class that there is most of."""
    (grid,) = outputs.values()
    results = []
    for cells in grid:
        best = cells[:2].max(0)
        rows, columns = (best > 0.4).nonzero()
        boxes = [[4 * c, 4 * r, 4 * c + 4, 4 * r + 4] for r, c in zip(rows, columns)]
        results.append((boxes, best[rows, columns], cells[:2].argmax(0)[rows, columns]))
    return results
'''


def blobs(samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 16, 16, 3) of squares in two colours on a third, and their masks (N, 16, 16)."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((samples, SIDE, SIDE), np.uint8)
    for mask in masks:
        for label in (1, 2):
            y, x = rng.integers(0, SIDE - 6, 2)
            mask[y : y + 6, x : x + 6] = label
    images = np.eye(3)[masks] * 160 + rng.integers(0, 90, (samples, SIDE, SIDE, 3))
    return images.astype(np.uint8), masks


def cells(samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Pictures with one to three cells of 4 x 4 pixels in two colours, and their boxes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (samples, SIDE, SIDE, 3))
    boxes, labels, where = [], [], []
    for n in range(samples):
        for place in rng.choice(16, rng.integers(1, 4), replace=False):
            y, x, label = 4 * (place // 4), 4 * (place % 4), rng.integers(2)
            images[n, y : y + 4, x : x + 4, label] += rng.integers(60, 200)
            boxes.append([x, y, x + 4, y + 4])
            labels.append(label)
            where.append(n)
    return {
        "images": images.astype(np.uint8),
        "boxes": np.array(boxes, np.float32),
        "box_labels": np.array(labels),
        "box_samples": np.array(where),
    }


def folder(path: Path) -> Path:
    """Fill a folder with the modules and a data file per task; classes of points are what the networks say."""
    (path / "nets.py").write_text(MODULES)
    scope: dict = {"__name__": "nets"}
    exec(MODULES, scope)  # noqa: S102
    torch = scope["torch"]
    images, masks = blobs(48)
    masks[:, 0] = 255
    write_data(path / "blobs.npz", images=images, masks=masks)
    write_data(path / "cells.npz", **cells(48))
    points = np.random.default_rng(0).uniform(-1, 1, (48, 3, 32)).astype(np.float32)
    with torch.no_grad():
        clouds = scope["PointNet"]()(torch.from_numpy(points)).argmax(1).numpy()
        parts = scope["PartNet"]()(torch.from_numpy(points)).argmax(1).numpy()
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        amounts, shares = (scope[name]()(pictures).numpy() for name in ("Amounts", "Shares"))
    write_data(path / "amounts.npz", images=images, targets=amounts)
    write_data(path / "shares.npz", images=images, targets=shares)
    write_data(path / "clouds.npz", points=points, labels=clouds)
    write_data(path / "parts.npz", points=points, point_labels=parts)
    return path
