"""Pictures of a few samples: boxes, masks, points and events, ANN and SNN side by side."""

from toolchain.report.pictures.draw import Panel, Pictures, draw
from toolchain.report.pictures.gallery import Gallery, Said, Shown

__all__ = ["Gallery", "Panel", "Pictures", "Said", "Shown", "draw"]
