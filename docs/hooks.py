"""Build hooks of the documentation site: the order of the pages, and the command line's reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig

from toolchain import cli

#: Pages in reading order; files that are not named here come last, under Reference.
NAVIGATION = {
    "Start": ["index.md", "tutorial.md"],
    "How to": [
        "howto/export.md",
        "howto/validate.md",
        "howto/energy.md",
        "howto/notebook.md",
        "howto/data.md",
        "howto/spiking.md",
        "tasks.md",
        "howto/migrate.md",
    ],
    "Explanation": ["neuron.md", "semantics.md", "energy.md", "performance.md"],
    "Reference": [
        "reference/commands.md",
        "reference/python.md",
        "formats.md",
        "layers.md",
        "activations.md",
        "targets.md",
        "lava.md",
    ],
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Build the navigation from the pages that are there."""
    folder = Path(config.docs_dir)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    named = {page for pages in NAVIGATION.values() for page in pages}
    navigation: list[dict[str, Any]] = [
        {section: [page for page in pages if page in present]} for section, pages in NAVIGATION.items()
    ]
    navigation[-1]["Reference"] += sorted(present - named)
    config.nav = navigation
    return config


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the command line's reference."""
    return markdown.replace("<!-- commands -->", command_reference())


def command_reference() -> str:
    """Describe every command, as `--help` does."""
    return "\n".join(_command(name, command) for name, command in sorted(cli.commands().items()))


def _command(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(["adafire", name, *(p.name.upper() for p in arguments), "[OPTIONS]" if options else ""])
    lines = [f"## adafire {name}", "", (command.help or "").strip(), "", f"    {usage.strip()}", ""]
    if command.params:
        lines += ["| | | default |", "|---|---|---|"]
    for p in arguments:
        lines.append(f"| `{p.name.upper()}` | {p.help or ''} | {'required' if p.required else ''} |")
    for p in options:
        default = "required" if p.required else "" if p.default in (None, False, ()) else f"`{p.default}`"
        lines.append(f"| {', '.join(f'`{o}`' for o in p.opts)} | {p.help or ''} | {default} |")
    return "\n".join([*lines, ""])
