"""Networks from torch: modules as they are traced, and files of torch.export."""

from toolchain.frontend.from_torch.graph import ATEN
from toolchain.frontend.from_torch.modules import load_module
from toolchain.frontend.from_torch.pt2_file import read_pt2
from toolchain.frontend.from_torch.tracing import read_module, state_hash
from toolchain.frontend.from_torch.weights import load_weights

__all__ = ["ATEN", "load_module", "load_weights", "read_module", "read_pt2", "state_hash"]
