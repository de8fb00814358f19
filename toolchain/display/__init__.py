"""How results and progress show, in a terminal and in a notebook."""

from toolchain.display.progress import Progress, silent
from toolchain.display.results import Displayed

__all__ = ["Displayed", "Progress", "silent"]
