"""lava-dl's .net files, both ways."""

from toolchain.exchange.netx.read import read_netx
from toolchain.exchange.netx.write import write_netx

__all__ = ["read_netx", "write_netx"]
