"""Python code that a user names: ``package.module:callable`` or ``path/to/file.py:callable``."""

from toolchain.specs.named import failures, named

__all__ = ["failures", "named"]
