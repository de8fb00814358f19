"""Files of netlists and traces, read with suspicion and written whole or not at all."""

from toolchain.files.atomic import check_writable, replacing, write_bytes
from toolchain.files.guarded_hdf5 import Guarded, open_guarded, whole
from toolchain.files.hdf5_new import create_hdf5
from toolchain.files.json_text import canonical_json, parse_json
from toolchain.files.netlist_file import SCHEMA, netlist_bytes, read_netlist, schema_of, write_netlist
from toolchain.files.trace_file import TraceReader, TraceWriter, open_trace, read_trace, write_trace

__all__ = [
    "SCHEMA",
    "Guarded",
    "TraceReader",
    "TraceWriter",
    "canonical_json",
    "check_writable",
    "create_hdf5",
    "netlist_bytes",
    "open_guarded",
    "open_trace",
    "parse_json",
    "read_netlist",
    "read_trace",
    "replacing",
    "schema_of",
    "whole",
    "write_bytes",
    "write_netlist",
    "write_trace",
]
