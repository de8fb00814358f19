"""NIR: two profiles to write, ours and everybody's graphs to read."""

from toolchain.exchange.nir.compact import import_nir, read_nir, to_nir, write_nir
from toolchain.exchange.nir.explicit import to_nir_explicit, write_nir_explicit
from toolchain.exchange.nir.file import graph_bytes

__all__ = ["graph_bytes", "import_nir", "read_nir", "to_nir", "to_nir_explicit", "write_nir", "write_nir_explicit"]
