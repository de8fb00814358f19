"""A class per point: ground or tree in scanned forests, with a PointNet for parts.

    python examples/part_segmentation.py [--full]

Two forests are cut into columns of 6 x 6 m and 512 points to train on, a third is scored. What the network finds in a
point meets what the maximum over all points found, as in the PointNet of Qi et al. (CVPR 2017).
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from steps import compare, data, deployed, fit, options, reported, trained
from torch import Tensor, nn

import adafire

#: Metres of a column's side, and its points.
SIDE, POINTS = 6.0, 512
#: Not counted: the forest that is scored has none.
CLUTTER, VOID = 2, 255


def layers(*widths: int) -> nn.Sequential:
    """Return layers that take every point by itself."""
    found: list[nn.Module] = []
    for c_in, c_out in pairwise(widths):
        found += [nn.Conv1d(c_in, c_out, 1, bias=False), nn.BatchNorm1d(c_out), nn.ReLU()]
    return nn.Sequential(*found)


class PartNet(nn.Module):
    """Classes of the points of clouds (N, 3, P): scores (N, classes, P)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.near, self.far = layers(3, 32, 64), layers(64, 64, 128)
        self.joined = layers(64 + 128, 64, 32)
        self.scores = nn.Conv1d(32, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.near(x)
        whole = self.far(near).amax(2, keepdim=True).expand(-1, -1, x.shape[2])
        return self.scores(self.joined(torch.cat([near, whole], 1)))


def columns(names: tuple[str, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut plots into columns: places (N, 3, POINTS) about the foot in units of 4 m, and classes (N, POINTS)."""
    found, rng = np.load(data("points", "forest_plots.npz")), np.random.default_rng(seed)
    places, classes = [], []
    for name in names:
        points, labels = found[f"{name}_points"], found[f"{name}_labels"]
        cell = np.floor(points[:, :2] / SIDE).astype(int)
        for corner in np.unique(cell, axis=0):
            inside = np.flatnonzero((cell == corner).all(1))
            if len(inside) < POINTS:
                continue
            foot = np.array([*((corner + 0.5) * SIDE), points[inside, 2].min()])
            for part in np.array_split(rng.permutation(inside), min(4, len(inside) // POINTS)):
                drawn = part[:POINTS]
                places.append(((points[drawn] - foot) / 4).T)
                classes.append(np.where(labels[drawn] == CLUTTER, VOID, labels[drawn]))
    return np.array(places, np.float32), np.array(classes)


def main() -> None:
    chosen = options(__doc__)
    x, y = columns(("Area_1_Park_1", "Area_1_Park_2", "Area_2_linchang_1", "Area_2_linchang_2"), chosen.seed)
    unseen, truth = columns(("Area_3_nefulinchang_1",), chosen.seed)
    clouds, labels = torch.from_numpy(x), torch.from_numpy(y).long()

    def train(network: nn.Module) -> None:
        def loss(positions: np.ndarray) -> Tensor:
            angle = torch.rand(len(positions)) * 2 * torch.pi
            cos, sin = angle.cos()[:, None], angle.sin()[:, None]
            a, b, z = clouds[positions].unbind(1)
            turned = torch.stack([cos * a - sin * b, sin * a + cos * b, z], 1)
            return F.cross_entropy(network(turned), labels[positions], ignore_index=VOID)

        fit(network, loss, len(clouds), chosen.few(8, 30), batch=16, seed=chosen.seed)

    network = trained("forest_partnet", PartNet(2), train)
    few = np.arange(chosen.few(24, len(unseen)))
    calibration = adafire.Dataset("forest", x)
    test = adafire.Dataset("forest", unseen[few], adafire.Truth(point_labels=truth[few]))
    netlists = compare(
        f"forest: {len(test)} columns",
        network,
        calibration,
        test,
        chosen,
        shorter=(8, 4),
        priced=8,
        samples=chosen.few(48, 96),
        task="points",
        classes="ground,tree",
    )
    deployed("forest", netlists[0], test)
    reported("forest", netlists, test, network, 16)


if __name__ == "__main__":
    main()
