"""Data sets, and how they become numbers for the ANN and payloads for the SNN."""

from toolchain.data.dataset import Dataset, channels_first, check_data
from toolchain.data.normalization import Normalization, choose_input, parse_normalization
from toolchain.data.npz_file import read_data, write_data

__all__ = [
    "Dataset",
    "Normalization",
    "channels_first",
    "check_data",
    "choose_input",
    "parse_normalization",
    "read_data",
    "write_data",
]
