"""Data sets, and how they become numbers for the ANN and payloads for the SNN."""

from toolchain.data.dataset import Dataset, channels_first, check_data, check_parts
from toolchain.data.normalization import Normalization, choose_input, in_units, normalization_of, parse_normalization
from toolchain.data.npz_file import read_data, write_data
from toolchain.data.several import join
from toolchain.data.truth import UNKNOWN, VOID, Boxes, Truth, truth_of
from toolchain.data.values import Joined, Values

__all__ = [
    "UNKNOWN",
    "VOID",
    "Boxes",
    "Dataset",
    "Joined",
    "Normalization",
    "Truth",
    "Values",
    "channels_first",
    "check_data",
    "check_parts",
    "choose_input",
    "in_units",
    "join",
    "normalization_of",
    "parse_normalization",
    "read_data",
    "truth_of",
    "write_data",
]
