"""What a user names: Python code, ``package.module:callable`` or ``path/to/file.py:callable``; classes."""

from toolchain.specs.named import failures, named
from toolchain.specs.names import parse_names

__all__ = ["failures", "named", "parse_names"]
