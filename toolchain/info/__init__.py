"""What a netlist holds, printed, in JSON and as a text for `diff`."""

from toolchain.info.summary import Summary, summarize
from toolchain.info.text import netlist_text

__all__ = ["Summary", "netlist_text", "summarize"]
