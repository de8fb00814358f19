"""Names of classes, as a user lists them."""

from __future__ import annotations

from pathlib import Path

from toolchain.netlist import FormatError, InputError

#: Longest list of names that is read from a file, in bytes.
MAX_NAMES = 1 << 20


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Read names of classes: separated by commas, or a file with a name on every line.

    Raises
    ------
    InputError
        When a name comes twice, or there is none.
    FormatError
        When the file is no text.
    """
    if text is None:
        return None
    path = Path(text)
    if path.is_file():
        if path.stat().st_size > MAX_NAMES:
            raise InputError(text, f"{path.stat().st_size} bytes found, expected at most {MAX_NAMES}")
        try:
            names = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
        except UnicodeDecodeError as error:
            raise FormatError(text, f"is no text ({error})") from None
    else:
        names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names or len(set(names)) < len(names):
        raise InputError("classes", f"{text!r} found, expected names that differ, or a file with one on every line")
    return names
