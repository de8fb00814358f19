"""Hardware targets: their limits as data, design rules, core mapping and the Lava run time."""

from hw_targets.catalogue import Catalogue
from hw_targets.target import Target, available_targets, load_target

__all__ = ["Catalogue", "Target", "available_targets", "load_target"]
