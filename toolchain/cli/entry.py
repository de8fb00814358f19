"""Run one command: order of the commands, errors as one line, exit statuses."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from signal import SIGINT, pthread_kill
from threading import Timer, main_thread
from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from toolchain.cli.app import app
from toolchain.cli.console import messages
from toolchain.cli.flags import error_in_flags
from toolchain.netlist import AdafireError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

#: Exit status of a fault of adafire itself (EX_SOFTWARE of sysexits.h).
INTERNAL_ERROR = 70
#: Exit status after Ctrl-C, as shells report it.
INTERRUPTED = 130


#: The commands in the order in which one needs them, as the help lists them; others follow.
WORKFLOW = (
    "demo",
    "convert",
    "info",
    "simulate",
    "verify",
    "targets",
    "check",
    "place",
    "energy",
    "report",
    "export",
    "import",
    "run",
    "data pictures",
    "data masks",
    "data coco",
    "data voc",
    "data points",
    "data events",
)


def _position(name: str) -> int:
    return WORKFLOW.index(name) if name in WORKFLOW else len(WORKFLOW)


def _register() -> None:
    """Import the command modules; each adds its command to `app`."""
    from toolchain.cli import (  # noqa: F401
        check,
        convert,
        data,
        demo,
        energy,
        export,
        import_file,
        info,
        pipeline,
        report,
        simulate,
        verify,
    )

    app.registered_commands.sort(key=lambda c: _position(str(c.name or getattr(c.callback, "__name__", ""))))


def commands() -> dict[str, TyperCommand]:
    """Return every command by name, in the order of the help; those of a group by both words."""
    _register()
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return dict(sorted(_named(group), key=lambda found: _position(found[0])))


def _named(group: TyperGroup, before: str = "") -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _named(command, f"{before}{name} ")
        elif isinstance(command, TyperCommand):
            yield before + name, command


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its status.

    0 done; 1 a check failed; 2 bad usage or bad input, with one line on stderr; 3 a backend is not
    installed or died; 4 a conversion does not compute what its network does; 130 interrupted. A
    traceback appears only when ADAFIRE_DEBUG is set.
    """
    sys.unraisablehook = _press_again
    _replace_what_cannot_be_shown()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _replace_what_cannot_be_shown() -> None:
    """Let output show a question mark for what its encoding lacks, a φ in latin-1 say, where it would fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _press_again(lost: UnraisableHookArgs) -> None:
    """Repeat a Ctrl-C that Python dropped, because it arrived in a callback that may not fail (h5py has many)."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        # A real signal, which ends a wait; by then the callback is over.
        Timer(0.05, pthread_kill, (main_thread().ident, SIGINT)).start()
    else:
        sys.__unraisablehook__(lost)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status."""
    _register()
    try:
        # `adafire run` runs other commands: it is handed this function, since it cannot import it.
        status = app(arguments, standalone_mode=False, obj=run)
        if status == INTERRUPTED:  # typer's way to say Ctrl-C
            messages.print("interrupted")
        return status if isinstance(status, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        messages.print("interrupted")
        return INTERRUPTED
    except TyperException as error:
        # Without a command the help was printed, and there is nothing to say.
        if message := getattr(error, "format_message", error.__str__)():
            _explain(f"error: {message}; see adafire --help")
        return 2
    except BrokenPipeError:
        # The reader of our output is gone; nothing is left to say, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AdafireError as error:
        _explain(f"error: {error_in_flags(error, flags_of(_called(arguments)), flags_of(WORKFLOW))}")
        return error.exit_status
    except MemoryError:
        _explain("error: not enough memory; use a smaller --batch or --limit")
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _give_up(error)
        _explain(f"error: {error}; free some space there, in the folder of TMPDIR, or in /dev/shm")
        return 2
    except Exception as error:  # noqa: BLE001  # whatever it is, a user gets one line
        return _give_up(error)


def _give_up(error: Exception) -> int:
    _explain(f"internal error: {type(error).__name__}: {error} (set ADAFIRE_DEBUG=1 for the traceback)")
    return INTERNAL_ERROR


def _called(arguments: Sequence[str]) -> list[str]:
    """Return the command that a line calls, of one word or of two, if there is such."""
    words = (" ".join(arguments[:2]), *arguments[:1])
    return [name for name in words if name in WORKFLOW]


def flags_of(names: Sequence[str]) -> dict[str, str]:
    """Return the options of some commands, each with its flag."""
    known = commands()
    parameters = [p for name in names if name in known for p in known[name].params]
    spelled = {str(p.name): [o for o in p.opts if o.startswith("--")] for p in parameters}
    return {name: flags[0] for name, flags in spelled.items() if flags}


def _explain(line: str) -> None:
    if os.environ.get("ADAFIRE_DEBUG"):
        traceback.print_exc()
    messages.print(" ".join(line.split()), style="red", markup=False, soft_wrap=True)
