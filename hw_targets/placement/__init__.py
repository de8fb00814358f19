"""Placement: which neurons go to which core and chip."""

from hw_targets.placement.boxes import Box
from hw_targets.placement.footprint import RESOURCES, core_limits
from hw_targets.placement.picture import draw
from hw_targets.placement.place import place
from hw_targets.placement.placement import Placement, Tile, Traffic

__all__ = ["RESOURCES", "Box", "Placement", "Tile", "Traffic", "core_limits", "draw", "place"]
