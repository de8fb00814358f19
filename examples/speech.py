"""Spoken words: a published network with max-pooling on MFCC features, whose numbers are taken as they are.

    python examples/speech.py [--full]

cnn-trad-pool2 of honk (github.com/castorini/honk, MIT) with its weights: two convolutions of 64 channels, ten words,
silence and unknown. Without many clips at hand, the score on 50 of them has a wide interval.
"""

from safetensors.torch import load_file
from steps import compare, data, deployed, options, reported
from torch import Tensor, nn

import adafire


class CnnTradPool2(nn.Module):
    """Twelve classes of (N, 1, 101, 40) MFCC features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, (20, 8))
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(64, 64, (10, 4))
        self.output = nn.Linear(26_624, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv1(x).relu())
        return self.output(self.conv2(x).relu().flatten(1))


def main() -> None:
    chosen = options(__doc__)
    folder = data("speech")
    network = CnnTradPool2()
    network.load_state_dict(load_file(folder / "cnn_trad_pool2.safetensors"))
    test = adafire.dataset(folder / "words_dev50.npz", limit=chosen.few(20, 50))
    calibration = adafire.dataset(folder / "calibration128.npz")
    netlists = compare(
        f"{len(test)} words", network.eval(), calibration, test, chosen, priced=4, samples=chosen.few(16, 128)
    )
    deployed("speech", netlists[0], test)
    reported("speech", netlists, test, network, chosen.few(8, 50))


if __name__ == "__main__":
    main()
