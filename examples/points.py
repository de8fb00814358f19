"""Clouds of points, a class each: a small PointNet on LiDAR clusters, and on points of chairs and monitors.

    python examples/points.py [--full]

A shared network takes every point by itself and a maximum over all of them joins what it found: in the netlist a
population that sums what each point's neurons send (semantics, section 6).
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from steps import Options, compare, data, deployed, fit, options, reported, trained
from torch import Tensor, nn

import adafire


class PointNet(nn.Module):
    """Classes of clouds (N, 3, P), after Qi et al. (CVPR 2017), without the transforms that depend on the sample."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        layers = [(nn.Conv1d(i, o, 1, bias=False), nn.BatchNorm1d(o), nn.ReLU()) for i, o in pairwise(widths)]
        self.points = nn.Sequential(*(each for layer in layers for each in layer))
        self.cloud = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.cloud(self.points(x).amax(2))


def turned(x: Tensor) -> Tensor:
    """Turn every cloud about the vertical by an angle of its own, and shake its points."""
    angle = torch.rand(len(x)) * 2 * torch.pi
    zero, one, cos, sin = torch.zeros(len(x)), torch.ones(len(x)), angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
    return turn @ x + 0.02 * torch.randn_like(x)


def train(network: nn.Module, clouds: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> None:
    """Train on turned clouds."""
    x, y = torch.from_numpy(clouds), torch.from_numpy(labels)

    def loss(positions: np.ndarray) -> Tensor:
        return F.cross_entropy(network(turned(x[positions])), y[positions], label_smoothing=0.1)

    fit(network, loss, len(x), epochs, seed=seed)


def lidar() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return clusters (N, 3, 128) about their own middle in units of 2 m, and their classes: training, test."""
    found = np.load(data("points", "lidar_clusters.npz"))
    clouds = []
    for part in ("train", "test"):
        points = found[part].astype(np.float32).transpose(0, 2, 1)
        clouds += [(points - points.mean(2, keepdims=True)) / 2, found[f"{part}_labels"].astype(np.int64)]
    return tuple(clouds)


def furniture(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return 128 points from the surfaces of chairs (0) and monitors (1); every fifth is for the test."""
    rng = np.random.default_rng(seed)
    clouds, labels = [], []
    for label, name in enumerate(("chair", "monitor")):
        solid = np.unpackbits(np.load(data("modelnet10_vox", f"{name}.npz"))["voxels"], axis=-1).astype(bool)
        for voxels in solid:
            place = np.argwhere(voxels)
            chosen = place[rng.choice(len(place), 128, replace=len(place) < 128)]
            points = chosen + rng.uniform(-0.5, 0.5, chosen.shape)
            points -= points.mean(0)
            clouds.append(points.T / np.abs(points).max())
            labels.append(label)
    x, y, held_out = np.array(clouds, np.float32), np.array(labels), np.arange(len(labels)) % 5 == 0
    return x[~held_out], y[~held_out], x[held_out], y[held_out]


def run(name: str, parts: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], chosen: Options) -> None:
    clouds, labels, unseen, classes = parts
    network = trained(
        f"points_{name}",
        PointNet(int(labels.max()) + 1),
        lambda net: train(net, clouds, labels, chosen.few(20, 60), chosen.seed),
    )
    test = adafire.dataset(unseen, classes)
    title = f"{name}: {len(test)} clouds held out"
    netlists = compare(title, network, adafire.dataset(clouds), test, chosen, shorter=(8, 4))
    deployed(f"points_{name}", netlists[0], test)
    reported(f"points_{name}", netlists, test, network, chosen.few(32, 256))


def main() -> None:
    chosen = options(__doc__)
    run("lidar", lidar(), chosen)
    run("furniture", furniture(chosen.seed), chosen)


if __name__ == "__main__":
    main()
