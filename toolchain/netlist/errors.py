"""Every error that adafire raises on purpose: one base class, messages that say what to do.

A message names where the fault is (file, layer or option), what was found, what was expected and
what the user can do. The command line turns these into one line and an exit status.
"""

from __future__ import annotations

from typing import ClassVar

#: Longest message; what a damaged file holds may be quoted in it.
MAX_MESSAGE = 900


def _one_line(text: str) -> str:
    """Return a message without line breaks and control characters, and not endless."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= MAX_MESSAGE else f"{line[: MAX_MESSAGE - 200]} ... {line[-190:]}"


class AdafireError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    where : str
        The file, layer (module path, population, connection) or option at fault.
    problem : str
        What was found there and what was expected.
    fix : str, optional
        What the user can do about it.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, where: str, problem: str, fix: str | None = None) -> None:
        self.where = where
        self.problem = problem
        self.fix = fix
        super().__init__(_one_line(f"{where}: {problem}" + (f"; {fix}" if fix else "")))

    def __reduce__(self) -> tuple[type[AdafireError], tuple[str, str, str | None]]:
        """Pickle by the constructor's arguments, so that worker processes can send errors back."""
        return type(self), (self.where, self.problem, self.fix)


class InputError(AdafireError, ValueError):
    """User data or an option that cannot be used: wrong shape, type, range, or missing."""


class UnsupportedError(AdafireError, NotImplementedError):
    """A layer, operation or feature that adafire does not (or a format cannot) express."""


class FormatError(AdafireError, ValueError):
    """A file that is not what it says it is: corrupted, of another version, or inconsistent."""


class NetlistError(AdafireError, ValueError):
    """A network of populations and connections that breaks a rule of the netlist."""


class TargetError(AdafireError, ValueError):
    """A number that does not fit a field of the hardware target."""


class CollapseError(AdafireError, ArithmeticError):
    """A conversion whose netlist does not compute what the ANN does."""

    exit_status: ClassVar[int] = 4


class BackendError(AdafireError, RuntimeError):
    """A backend that is not installed, died, hung or raised."""

    exit_status: ClassVar[int] = 3
