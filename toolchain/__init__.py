"""AdaFire: from a trained PyTorch network to an integer netlist proven equal on Lava.

The three jobs, each in a few lines::

    import toolchain as adafire

    netlist = adafire.to_netlist(model, "train.npz", normalize="cifar10")
    adafire.verify(netlist, adafire.dataset("test.npz", limit=16), "lava")
    adafire.price(netlist, "test.npz")

Names are loaded when they are first used: importing `toolchain.netlist` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.api import dataset, price, run, to_netlist, write_report
    from toolchain.equivalence.verify import verify
    from toolchain.files.netlist_file import read_netlist, write_netlist
    from toolchain.info.summary import summarize

_HOMES = {
    "dataset": "toolchain.api",
    "price": "toolchain.api",
    "read_netlist": "toolchain.files.netlist_file",
    "run": "toolchain.api",
    "summarize": "toolchain.info.summary",
    "to_netlist": "toolchain.api",
    "verify": "toolchain.equivalence.verify",
    "write_netlist": "toolchain.files.netlist_file",
    "write_report": "toolchain.api",
}

__all__ = [
    "dataset",
    "price",
    "read_netlist",
    "run",
    "summarize",
    "to_netlist",
    "verify",
    "write_netlist",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
