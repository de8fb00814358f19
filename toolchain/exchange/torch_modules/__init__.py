"""A netlist as torch modules: norse's way of stepping, and what NeuroBench measures."""

from toolchain.exchange.torch_modules.neurobench import neurobench_model
from toolchain.exchange.torch_modules.norse import AdaFireCell, NetlistCell, to_norse
from toolchain.exchange.torch_modules.windows import WindowCell

__all__ = ["AdaFireCell", "NetlistCell", "WindowCell", "neurobench_model", "to_norse"]
