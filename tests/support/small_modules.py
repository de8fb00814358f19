"""Small torch modules that several tests convert."""

import torch
from torch import Tensor, nn


class ResidualCNN(nn.Module):
    """Two convolutions with a residual sum around the second, pooled, four classes; seeded random weights.

    Parameters
    ----------
    seed : int
    gain : float
        Factor on the logits: greater ones make the decisions more certain.
    """

    def __init__(self, seed: int = 0, gain: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.gain = gain
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x) + x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits if self.gain == 1 else self.gain * logits
