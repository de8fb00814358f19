"""``adafire run``: a whole pipeline from one file, doing only what is not there yet.

A TOML file has a table per step with the options of the command of that name, and on top what all
steps share::

    netlist = "resnet20.h5"
    data = "test.npz"    # or a folder of pictures, with size = "224,224/256", or "path.py:callable"

    [convert]
    spec = "examples/resnet20.py:resnet20"
    weights = "resnet20.safetensors"
    calibration = "train.npz"
    normalize = "imagenet"

    [check]
    target = "loihi2"

    [verify]
    limit = 16

    [report]
    output = "report.html"
    baseline = ["phi1.h5"]

An option that a command takes several times is a list. Paths are relative to the file. Results of steps that print go
to ``STEM.STEP.json``, STEM being the netlist's. Beside the file, ``NAME.done.json`` remembers by content what each step
was made of: its options, the files they name, and whatever of the user's was imported or read on the way.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from toolchain.cli.app import app
from toolchain.cli.console import CHECK_FAILED, Json, messages, results, show
from toolchain.cli.flags import flag
from toolchain.cli.reading import digest, digest_of_names, reading
from toolchain.netlist import InputError

#: The steps in the order they run; whether they take the shared data; whether they write `output` themselves.
STEPS = {
    "convert": (False, True),
    "check": (False, False),
    "verify": (True, False),
    "simulate": (True, False),
    "energy": (True, False),
    "export": (False, True),
    "report": (True, True),
}


#: Runs one command and returns its exit status.
Run = Callable[[list[str]], int]


@dataclass(frozen=True)
class Step:
    """One command of a pipeline.

    Parameters
    ----------
    name : str
    arguments : tuple of str
        Of the command, `--json` or `-o` included.
    output : Path
        What it leaves behind.
    captured : bool
        Whether `output` is what the command prints.
    """

    name: str
    arguments: tuple[str, ...]
    output: Path
    captured: bool

    def key(self) -> str:
        """Return a hash of what is known before the step runs: the command and the files it names."""
        sha = hashlib.sha256(version("adafire").encode())
        for word in (self.name, *self.arguments):
            sha.update(b"\0" + word.encode())
            named = Path(word.rsplit(":", 1)[0] if ".py:" in word else word)
            # Of a folder what is in it: the content of those that are read is noted while they are.
            content = digest_of_names(named) if named.is_dir() else digest(named)
            if named != self.output and content is not None:
                sha.update(content.encode())
        return sha.hexdigest()


#: Options that all steps that take data share.
SHARED = ("data", "size")
#: Options that a command takes several times: a list here.
REPEATED = ("baseline",)


def _options(table: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in table.items():
        option = flag(name)
        if isinstance(value, bool):
            words += [option] if value else []
        elif isinstance(value, str | int | float):
            words += [option, str(value)]
        elif name in REPEATED and isinstance(value, list) and all(isinstance(v, str) for v in value):
            words += [word for v in value for word in (option, v)]
        else:
            raise InputError(name, f"{value!r} found, expected text, a number or true")
    return words


def _step(name: str, table: dict[str, Any], netlist: str, shared: Mapping[str, str]) -> Step:
    takes_data, writes = STEPS[name]
    if takes_data and "data" not in table:
        table = {**shared, **table}
    table = dict(table)
    if name == "convert":
        if not isinstance(table.get("spec"), str):
            raise InputError("[convert]", "no spec found", "name the network: spec = 'file.py:callable'")
        return Step(name, (table.pop("spec"), *_options(table), "-o", netlist), Path(netlist), False)
    output = table.pop("output", None if writes else f"{Path(netlist).stem}.{name}.json")
    if not isinstance(output, str):
        raise InputError(f"[{name}]", "no output found", "name the file to write: output = '...'")
    end = ("-o", output) if writes else ("--json",)
    return Step(name, (netlist, *_options(table), *end), Path(output), not writes)


def read_pipeline(path: Path) -> tuple[Step, ...]:
    """Read a pipeline file.

    Raises
    ------
    InputError
        When it is no TOML, names an unknown step, or lacks something.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))  # whatever the locale: TOML is UTF-8
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(str(path), f"is no readable TOML file ({error})") from None
    for name in document.keys() - STEPS.keys() - {"netlist", *SHARED}:
        near = difflib.get_close_matches(name, [*STEPS, "netlist", *SHARED], n=1)
        raise InputError(str(path), f"unknown entry {name!r}", f"did you mean {near[0]!r}?" if near else None)
    netlist, shared = document.get("netlist"), {name: document[name] for name in SHARED if name in document}
    if not isinstance(netlist, str) or not all(isinstance(value, str) for value in shared.values()):
        raise InputError(str(path), "expected netlist = 'FILE.h5' and, where steps need it, data = 'FILE.npz'")
    tables = {name: document[name] for name in STEPS if name in document}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InputError(str(path), f"{name} is no table", f"write it as [{name}]")
    return tuple(_step(name, table, netlist, shared) for name, table in tables.items())


def _perform(step: Step, run: Run) -> int:
    """Run one step; write what it printed, if that is its output."""
    from toolchain.files import write_bytes

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = run([step.name, *step.arguments])
    if step.captured and status in (0, CHECK_FAILED):
        write_bytes(step.output, printed.getvalue().encode())
    return status


def _read_done(path: Path) -> dict[str, list[Any]]:
    try:
        done = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return done if isinstance(done, dict) else {}


def _up_to_date(step: Step, key: str, kept: object) -> int | None:
    """Return the status of a step that need not run again; None where it must."""
    match kept:
        case [str(before), int(status), dict(read)] if step.output.is_file() and before == key:
            return status if all(digest(path) == sha for path, sha in read.items()) else None
    return None


def run_steps(steps: tuple[Step, ...], memory: Path, run: Run) -> Iterator[dict[str, Any]]:
    """Run the steps that are not up to date, in order, and yield what became of each.

    A failed check does not stop the pipeline, everything else does.

    Yields
    ------
    dict
        step, output, status (exit status) and done (False where it was up to date).
    """
    from toolchain.files import write_bytes

    done = _read_done(memory)
    for step in steps:
        key = step.key()
        status = _up_to_date(step, key, done.get(step.name))
        if status is not None:
            yield {"step": step.name, "output": str(step.output), "status": status, "done": False}
            continue
        with reading(step.arguments) as read:
            status = _perform(step, run)
        if status in (0, CHECK_FAILED):
            done[step.name] = [
                key,
                status,
                {p: sha for p, sha in read.items() if Path(p).resolve() != step.output.resolve()},
            ]
            write_bytes(memory, json.dumps(done, indent=1, sort_keys=True).encode())
        yield {"step": step.name, "output": str(step.output), "status": status, "done": True}
        if status not in (0, CHECK_FAILED):
            return


@app.command("run")
def run_pipeline(
    context: typer.Context,
    pipeline: Annotated[Path, typer.Argument(help="The pipeline (.toml).")],
    as_json: Json = False,
) -> None:
    """Do a whole pipeline: convert, check, verify, simulate, energy, export, report.

    Steps whose inputs have not changed since the last run are skipped.

    Example: adafire run resnet20.toml
    """
    if not pipeline.is_file():
        raise InputError(str(pipeline), "no such file", "name a pipeline (.toml)")
    with contextlib.chdir(pipeline.parent):
        steps = read_pipeline(Path(pipeline.name))
        outcomes = []
        for outcome in run_steps(steps, Path(f"{pipeline.stem}.done.json"), context.obj):
            outcomes.append(outcome)
            (messages if as_json else results).print(_told(outcome), markup=False, soft_wrap=True)
    if as_json:
        show("", {"steps": outcomes})
    if status := max((o["status"] for o in outcomes), default=0):
        raise typer.Exit(status)


def _told(outcome: Mapping[str, Any]) -> str:
    how = "done" if outcome["done"] else "up to date"
    verdict = {0: "", CHECK_FAILED: ", CHECK FAILED"}.get(outcome["status"], ", FAILED; the steps before it are kept")
    return f"{outcome['step']}: {outcome['output']} ({how}{verdict})"
