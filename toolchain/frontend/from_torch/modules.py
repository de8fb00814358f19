"""Loading modules by name."""

from __future__ import annotations

from torch import nn

from toolchain.netlist import InputError
from toolchain.specs import failures, named


def load_module(spec: str) -> nn.Module:
    """Return the nn.Module that `spec` names, or that what it names makes.

    Parameters
    ----------
    spec : str
        As `toolchain.specs.named` takes it. The callable (a function or the class itself) takes no arguments; an
        nn.Module that is there already is taken as it is.

    Raises
    ------
    InputError
        When there is no such module or callable, it ends the program, or it makes something else.
    """
    name = spec.rpartition(":")[2]
    with named(spec, nn.Module) as found:
        if isinstance(found, nn.Module):
            return found
        with failures(spec, f"calling {name}() failed", None, f"when {name}() was called"):
            made = found()
    if not isinstance(made, nn.Module):
        raise InputError(spec, f"{name}() returned {type(made).__name__}, expected an nn.Module")
    return made
