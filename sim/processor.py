"""What this processor computes fast, found out by asking it."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from threading import Lock, local

import torch

from toolchain.netlist import InputError


def convolve_bytes(
    payload: torch.Tensor,
    packed: torch.Tensor,
    ones: torch.Tensor,
    zeros: torch.Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> torch.Tensor:
    """Convolve uint8 payloads with packed int8 weights: oneDNN, int32 sums, given out as float32.

    Parameters
    ----------
    payload : Tensor (B, C_in, H, W), uint8, channels-last
    packed : Tensor
        From `pack`.
    ones, zeros : Tensor (C_out,), float32 and int32
        Scales and zero points of the weights.

    Returns
    -------
    Tensor (B, C_out, H_out, W_out), float32, channels-last
        Exact where the sums are below 2**24 and the processor adds int8 products in int32.
    """
    result: torch.Tensor = torch.ops.onednn.qconv_pointwise(
        payload,
        1.0,
        0,
        packed,
        ones,
        zeros,
        None,
        stride,
        padding,
        dilation,
        groups,
        1.0,
        0,
        torch.float32,
        "none",
        [],
        "",
    )
    return result


def pack(weight: torch.Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int) -> torch.Tensor:
    """Lay int8 weights (C_out, C_in / groups, K, K) out as this processor's kernels want them."""
    ones = torch.ones(weight.shape[0])
    packed: torch.Tensor = torch.ops.onednn.qconv_prepack(weight, ones, 1.0, 0, stride, padding, dilation, groups, None)
    return packed


def _dot_products() -> bool:
    """Return whether the processor adds int8 products in 32 bits, as far as torch can tell."""
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name, False) for name in ("avx512_vnni", "avx_vnni"))


def multiply_bytes(
    payload: torch.Tensor, packed: torch.Tensor, ones: torch.Tensor, zeros: torch.Tensor
) -> torch.Tensor:
    """Multiply uint8 payloads (B, K) by a packed int8 matrix (M, K): (B, M) float32, as `convolve_bytes`."""
    result: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        payload, 1.0, 0, packed, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return result


def pack_matrix(matrix: torch.Tensor) -> torch.Tensor:
    """Lay an int8 matrix (M, K) out as this processor's kernels want it."""
    packed: torch.Tensor = torch.ops.onednn.qlinear_prepack(matrix, None)
    return packed


@cache
def has_byte_kernels() -> bool:
    """Return whether int8 convolutions are fast and exact here: VNNI or AMX, and a probe agrees.

    Without those instructions oneDNN adds pairs of products in 16 bits, which saturate; the probe
    has the largest products there are. It also finds builds of torch without these operators, and a
    processor whose instructions are switched off (``ONEDNN_MAX_CPU_ISA``).
    """
    if not (torch.backends.mkldnn.is_available() and _dot_products()):
        return False
    payload = torch.full((1, 64, 3, 3), 255, dtype=torch.uint8).to(memory_format=torch.channels_last)
    weight = torch.full((16, 64, 3, 3), 127, dtype=torch.int8)
    geometry = [1, 1], [1, 1], [1, 1]
    try:
        packed = pack(weight, *geometry, 1)
        result = convolve_bytes(payload, packed, torch.ones(16), torch.zeros(16, dtype=torch.int32), *geometry, 1)
    except (RuntimeError, AttributeError):
        return False
    return torch.equal(result, torch.nn.functional.conv2d(payload.double(), weight.double(), padding=1).float())


def find_device(device: str | torch.device) -> torch.device:
    """Return a device of torch.

    Raises
    ------
    InputError
        When it is none that there is here, or none that runs netlists.
    """
    try:
        found = torch.device(device)
    except RuntimeError:
        raise InputError("device", f"{device!r} found, expected cpu, cuda or cuda:N") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError("device", f"{device} found, but torch finds {count or 'no'} CUDA devices here", "use cpu")
    if found.type not in ("cpu", "cuda"):
        raise InputError("device", f"{device} found, expected cpu, cuda or cuda:N")
    return found


@cache
def has_integer_products(device: str) -> bool:
    """Return whether `torch._int_mm` multiplies int8 and adds in int32 on a kind of device; a probe must agree.

    The probe has the largest sums there are. It also finds devices and builds of torch without the operator.
    """
    if device == "cpu" and not has_byte_kernels():
        return False
    low, high = torch.full((32, 512), -128, dtype=torch.int8), torch.full((32, 512), 127, dtype=torch.int8)
    expected = torch.cat([low, high]).long() @ torch.cat([low, high]).long().T
    try:
        matrix = torch.cat([low, high]).to(device)
        return torch.equal(torch._int_mm(matrix, matrix.t()).cpu().long(), expected)
    except (RuntimeError, AttributeError):
        return False


class exact_arithmetic:
    """Switch off the algorithms whose float sums are not those of the definition: Winograd and TF32.

    cuDNN may choose Winograd, and torch does not say which algorithm it took: without cuDNN it
    multiplies matrices. NNPACK, the fallback of builds without oneDNN, is Winograd as well.

    torch's switches are the whole process's: the first thread in turns them off, the last one out back to what they
    were. Several threads may be inside at once, and each several times.
    """

    _own = local()
    _lock = Lock()
    _inside = 0
    _back = ExitStack()

    def __enter__(self) -> None:
        cls = type(self)
        cls._own.depth = getattr(cls._own, "depth", 0) + 1
        if cls._own.depth > 1:
            return
        with cls._lock:
            if cls._inside == 0:
                matmul = torch.backends.cuda.matmul
                cls._back.callback(setattr, matmul, "allow_tf32", matmul.allow_tf32)
                matmul.allow_tf32 = False
                cls._back.enter_context(torch.backends.cudnn.flags(enabled=False))
                cls._back.enter_context(torch.backends.nnpack.flags(enabled=False))
            cls._inside += 1

    def __exit__(self, *error: object) -> None:
        cls = type(self)
        cls._own.depth -= 1
        if cls._own.depth > 0:
            return
        with cls._lock:
            cls._inside -= 1
            if cls._inside == 0:
                cls._back.close()
