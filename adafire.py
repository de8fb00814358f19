"""AdaFire: from a trained PyTorch network to an integer netlist proven equal on Lava.

The three jobs, each in a few lines::

    import adafire

    netlist = adafire.convert(model, "train.npz", adafire.Recipe(timesteps=8, normalize="cifar10"))
    adafire.verify(netlist, "test.npz", "lava", limit=16)
    adafire.energy(netlist, "test.npz")

The verbs are those of the command line, which starts here too. Names are loaded when they are first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.api import (
        ann_outputs,
        check,
        convert,
        dataset,
        energy,
        export,
        info,
        outputs,
        place,
        read,
        report,
        simulate,
        targets,
        verify,
        write,
    )
    from toolchain.convert import Recipe
    from toolchain.data import Boxes, Dataset, Truth
    from toolchain.netlist import (
        AdafireError,
        BackendError,
        CollapseError,
        FormatError,
        InputError,
        Netlist,
        NetlistError,
        TargetError,
        Trace,
        UnsupportedError,
    )

    __version__: str

#: Where names are that need no torch; the verbs are in `toolchain.api`.
_LIGHT = {
    "Recipe": "toolchain.convert",
    **dict.fromkeys(("Boxes", "Dataset", "Truth"), "toolchain.data"),
    **dict.fromkeys(("AdafireError", "BackendError", "CollapseError", "FormatError"), "toolchain.netlist"),
    **dict.fromkeys(
        ("InputError", "Netlist", "NetlistError", "TargetError", "Trace", "UnsupportedError"), "toolchain.netlist"
    ),
}

__all__ = [
    "AdafireError",
    "BackendError",
    "Boxes",
    "CollapseError",
    "Dataset",
    "FormatError",
    "InputError",
    "Netlist",
    "NetlistError",
    "Recipe",
    "TargetError",
    "Trace",
    "Truth",
    "UnsupportedError",
    "__version__",
    "ann_outputs",
    "check",
    "convert",
    "dataset",
    "energy",
    "export",
    "info",
    "outputs",
    "place",
    "read",
    "report",
    "simulate",
    "targets",
    "verify",
    "write",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("adafire")
    if name not in __all__:
        raise AttributeError(f"module 'adafire' has no attribute {name!r}")
    if (hidden := _hidden_package()) is not None:
        raise ImportError(hidden)
    return getattr(import_module(_LIGHT.get(name, "toolchain.api")), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _hidden_package() -> str | None:
    """Say which of the three packages a file of the user's hides, if one does: all must lie beside this file."""
    here = Path(__file__).resolve().parent
    for package in ("toolchain", "sim", "hw_targets"):
        found = find_spec(package)
        origin = found.origin if found is not None else None
        if origin is None or Path(origin).resolve() != here / package / "__init__.py":
            place = origin or "nothing"
            return f"adafire needs its own package {package!r}, {place} was found in its place; rename or move that"
    return None


def main() -> None:
    """Run the command line: the console script ``adafire``."""
    if (hidden := _hidden_package()) is not None:
        sys.stderr.write(f"error: {hidden}\n")
        sys.exit(2)
    from toolchain.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
