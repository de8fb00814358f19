"""Data sets, and how they become numbers for the ANN and payloads for the SNN."""

from toolchain.data.dataset import Dataset, channels_first, check_data
from toolchain.data.normalization import Normalization, choose_input, parse_normalization
from toolchain.data.npz_file import read_data, write_data
from toolchain.data.truth import UNKNOWN, VOID, Boxes, Truth, truth_of
from toolchain.data.values import Values

__all__ = [
    "UNKNOWN",
    "VOID",
    "Boxes",
    "Dataset",
    "Normalization",
    "Truth",
    "Values",
    "channels_first",
    "check_data",
    "choose_input",
    "parse_normalization",
    "read_data",
    "truth_of",
    "write_data",
]
