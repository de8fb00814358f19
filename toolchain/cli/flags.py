"""Messages of the library name fields; on the command line a user is told the flags.

A field is the `where` of an error, alone, or stands in backticks inside a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from toolchain.netlist import AdafireError

_FIELD = re.compile(r"`([a-z][a-z0-9_]*)`")

#: Fields by name, with the flag of each.
Flags = Mapping[str, str]


def flag(name: str) -> str:
    """Return how a field is spelled on the command line, unless its option says otherwise."""
    return f"--{name.replace('_', '-')}"


def in_flags(text: str, flags: Flags) -> str:
    """Return a text with the fields in it that are options spelled as flags."""
    return _FIELD.sub(lambda match: flags.get(match[1], match[0]), text)


def error_in_flags(error: AdafireError, own: Flags, others: Flags) -> AdafireError:
    """Return an error as the command line words it.

    Parameters
    ----------
    error : AdafireError
    own : mapping of str to str
        Options of the command that ran: where an error names one, that option is at fault.
    others : mapping of str to str
        Options of any command: advice may name another one's.
    """
    fix = None if error.fix is None else in_flags(error.fix, others)
    return type(error)(own.get(error.where, error.where), in_flags(error.problem, others), fix)
