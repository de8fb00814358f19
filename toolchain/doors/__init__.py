"""The doors that data come in through: folders of pictures, the user's code, annotated pictures, clouds of points."""

from toolchain.doors.open import Data, open_data
from toolchain.doors.pictures import Crop, parse_crop

__all__ = ["Crop", "Data", "open_data", "parse_crop"]
