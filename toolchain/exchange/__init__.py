"""Netlists in other people's formats: NIR and netx both ways, norse, NeuroBench.

The modules of `torch_modules` are not loaded with this package: they need norse.
"""

from toolchain.exchange.formats import Format, export_netlist, import_netlist
from toolchain.exchange.loss_report import Imported, Loss, LossReport

__all__ = ["Format", "Imported", "Loss", "LossReport", "export_netlist", "import_netlist"]
