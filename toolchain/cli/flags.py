"""Messages of the library name fields; on the command line a user is told the flags.

A field is the `where` of an error, alone, or stands in backticks inside a text.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from toolchain.netlist import AdafireError

_FIELD = re.compile(r"`([a-z][a-z0-9_]*)`")


def flag(name: str) -> str:
    """Return how a field is spelled on the command line."""
    return f"--{name.replace('_', '-')}"


def in_flags(text: str, options: Collection[str]) -> str:
    """Return a text with the fields in it that are options spelled as flags."""
    return _FIELD.sub(lambda match: flag(match[1]) if match[1] in options else match[0], text)


def error_in_flags(error: AdafireError, own: Collection[str], others: Collection[str]) -> AdafireError:
    """Return an error as the command line words it.

    Parameters
    ----------
    error : AdafireError
    own : collection of str
        Options of the command that ran: where an error names one, that option is at fault.
    others : collection of str
        Options of any command: advice may name another one's.
    """
    where = flag(error.where) if error.where in own else error.where
    fix = None if error.fix is None else in_flags(error.fix, others)
    return type(error)(where, in_flags(error.problem, others), fix)
