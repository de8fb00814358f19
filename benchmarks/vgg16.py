"""The network of the simulator's benchmark: VGG16 on 32x32 pictures, converted by the project itself."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from networks import random_pictures, scale_to_unit_variance
from torch import Tensor, nn

from toolchain.convert import Recipe, convert_network
from toolchain.data import parse_normalization, read_data
from toolchain.frontend import load_module, load_weights, read_module
from toolchain.netlist import Netlist

ROOT = Path(__file__).parent.parent


class Benchmark(NamedTuple):
    """The float network, its netlist, and pictures as both take them."""

    ann: nn.Module
    netlist: Netlist
    pictures: Tensor
    payloads: np.ndarray
    weights: str


def vgg16(samples: int, *, timesteps: int = 8, phi: int = 4) -> Benchmark:
    """Build the benchmark's network: trained weights where ADAFIRE_DATA has them, else seeded random ones.

    Parameters
    ----------
    samples : int
        Pictures to return; 64 more calibrate.
    timesteps, phi : int
    """
    torch.manual_seed(0)
    module = load_module(f"{ROOT / 'examples' / 'vgg16.py'}:vgg16").eval()
    normalization = parse_normalization("imagenet", 3)
    folder = os.environ.get("ADAFIRE_DATA")
    if folder:
        load_weights(module, Path(folder) / "models" / "vgg16_cifar10.safetensors")
        calibration = read_data(Path(folder) / "cifar10" / "train_10k.npz", limit=64)
        data = read_data(Path(folder) / "cifar10" / "val_5k.npz", limit=samples)
    else:
        everything = random_pictures(samples + 64, 32)
        calibration, data = everything.select(np.arange(64)), everything.select(np.arange(64, 64 + samples))
        x = calibration.normalized(normalization.mean, normalization.std)
        scale_to_unit_variance(module, torch.from_numpy(x.astype(np.float32)))
    print("converting VGG16", file=sys.stderr)
    recipe = Recipe(timesteps=timesteps, phi=phi, samples=64, normalize="imagenet")
    netlist = convert_network(read_module(module, data.shape), calibration, recipe)
    pictures = torch.from_numpy(data.normalized(normalization.mean, normalization.std).astype(np.float32))
    return Benchmark(
        _fold(module),
        netlist,
        pictures.contiguous(memory_format=torch.channels_last),
        data.payloads(netlist.input),
        "trained" if folder else "random",
    )


def _fold(module: nn.Module) -> nn.Module:
    """Return the float network as it runs fastest: BatchNorm folded, channels-last."""
    features: list[nn.Module] = []
    for layer in module.features:
        if isinstance(layer, nn.BatchNorm2d):
            features[-1] = torch.nn.utils.fuse_conv_bn_eval(features[-1], layer)
        else:
            features.append(layer)
    folded = nn.Sequential(*features, nn.Flatten(), module.classifier).eval()
    return folded.to(memory_format=torch.channels_last)
