"""A class per pixel: streets with a small U-Net, and vessels of the retina with a published one.

    python examples/segmentation.py [--full]

CamVid: 11 classes at 160 x 120, trained here. DRIVE: the U-Net of github.com/orobix/retina-unet (MIT) as published, on
tiles of 48 x 48, for which it was made; five pictures calibrate, tiles of the others are scored in the field of view.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from steps import Options, compare, data, deployed, fit, options, reported, trained
from torch import Tensor, nn

import adafire

VOID, TASK = 255, "segmentation"
STREETS = "sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,bicyclist"


class UNet(nn.Module):
    """A U-Net at half the resolution: three maps, joined on the way up; scores per pixel, four of which share one."""

    def __init__(self, classes: int) -> None:
        super().__init__()

        def block(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())

        self.enter, self.fine, self.middle, self.coarse = block(3, 16, 2), block(16, 32), block(32, 64), block(64, 96)
        self.join_middle, self.join_fine = block(96 + 64, 48), block(48 + 32, 24)
        self.scores = nn.Conv2d(24, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(self.enter(x))
        middle = self.middle(F.max_pool2d(fine, 2))
        up = F.interpolate(self.coarse(F.max_pool2d(middle, 2)), scale_factor=2)
        up = F.interpolate(self.join_middle(torch.cat([up, middle], 1)), scale_factor=2)
        return F.interpolate(self.scores(self.join_fine(torch.cat([up, fine], 1))), scale_factor=2)


class RetinaUNet(nn.Module):
    """The published network; it ends in a ReLU and a softmax, of which the host computes the softmax."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 32, 64, 64, 128, 128), (192, 64, 64), (96, 32, 32)
        index = 1
        for part in widths:
            for c_in, c_out in pairwise(part):
                self.add_module(f"c{index}", nn.Conv2d(c_in, c_out, 3, padding=1))
                index += 1
        self.c11 = nn.Conv2d(32, 2, 1)

    def twice(self, x: Tensor, first: int) -> Tensor:
        for index in (first, first + 1):
            x = F.relu(self.get_submodule(f"c{index}")(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        a = self.twice(x, 1)
        b = self.twice(F.max_pool2d(a, 2), 3)
        up = F.interpolate(self.twice(F.max_pool2d(b, 2), 5), scale_factor=2)
        up = F.interpolate(self.twice(torch.cat([up, b], 1), 7), scale_factor=2)
        return F.relu(self.c11(self.twice(torch.cat([up, a], 1), 9)))


def streets(chosen: Options) -> None:
    parts = {name: np.load(data("camvid", f"{name}_160x120.npz")) for name in ("train", "test")}
    images, masks = ({n: p[key] for n, p in parts.items()} for key in ("images", "labels"))
    masks = {name: np.where(m == 11, VOID, m).astype(np.uint8) for name, m in masks.items()}
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = (torch.from_numpy(images["train"]).permute(0, 3, 1, 2) / 255 - mean) / std
    y = torch.from_numpy(masks["train"]).long()
    # Rare classes count for more, by the root of how rare they are.
    weight = 1 / torch.bincount(y[y != VOID], minlength=11).float().sqrt()

    def train(network: nn.Module) -> None:
        def loss(positions: np.ndarray) -> Tensor:
            pictures, wanted = x[positions], y[positions]
            if torch.rand(()) < 0.5:
                pictures, wanted = pictures.flip(-1), wanted.flip(-1)
            return F.cross_entropy(network(pictures), wanted, weight / weight.mean(), ignore_index=VOID)

        fit(network, loss, len(x), chosen.few(6, 20), batch=8, rate=4e-3, seed=chosen.seed)

    network = trained("camvid_unet", UNet(11), train)
    few = np.arange(chosen.few(8, 24)) * (len(images["test"]) // 24)
    pictures = {name: x.transpose(0, 3, 1, 2) for name, x in images.items()}
    test = adafire.Dataset("camvid", pictures["test"][few], adafire.Truth(masks=masks["test"][few]))
    calibration, recipe = (
        adafire.Dataset("camvid", pictures["train"]),
        {"normalize": "imagenet", "task": TASK, "classes": STREETS},
    )
    netlists = compare(
        f"streets: {len(few)} pictures", network, calibration, test, chosen, priced=4, samples=16, **recipe
    )
    deployed("camvid", netlists[0], test)
    reported("camvid", netlists, test, network, chosen.few(4, 8))


def tiles(found: Mapping[str, np.ndarray], pictures: range, count: int) -> adafire.Dataset:
    """Return tiles of 48 x 48 within the field of view, evenly from the pictures; what is beside it does not count."""
    values, masks = [], []
    for n in pictures:
        for top in range(0, 576, 48):
            for left in range(0, 528, 48):
                part = (n, slice(top, top + 48), slice(left, left + 48))
                if found["field_of_view"][part].mean() > 0.5:
                    values.append(found["images"][part].transpose(2, 0, 1))
                    masks.append(np.where(found["field_of_view"][part], found["masks"][part], VOID))
    chosen = np.linspace(0, len(values) - 1, count).astype(int)
    return adafire.Dataset("drive", np.stack(values)[chosen], adafire.Truth(masks=np.stack(masks)[chosen]))


def vessels(chosen: Options) -> None:
    found = dict(np.load(data("segmentation", "drive", "drive_dev10.npz")))
    network = RetinaUNet()
    network.load_state_dict(load_file(data("segmentation", "drive", "retina_unet.safetensors")))
    calibration, test = tiles(found, range(5), chosen.few(32, 128)), tiles(found, range(5, 10), chosen.few(16, 64))
    netlists = compare(
        f"vessels: {len(test)} tiles",
        network.eval(),
        calibration,
        test,
        chosen,
        light=False,
        shorter=(8,),
        priced=4,
        task=TASK,
        classes="retina,vessel",
    )
    deployed("drive", netlists[0], test)
    reported("drive", netlists, test, network, 16)


def main() -> None:
    chosen = options(__doc__)
    streets(chosen)
    vessels(chosen)


if __name__ == "__main__":
    main()
