"""Chains of operators as one line of text, for tests that hold what a rewrite makes of them."""

from toolchain.frontend.rewrites import Zero
from toolchain.netlist import Conv, ConvTranspose, Linear, Pad, Permute, Resample, Reshape, Scale, Slice, SumPool


def chain_text(chain) -> str:
    """``Pad(2+1 0 0) -> Conv(4x6x3x3, pad 1)``: operators in the order of application, defaults left out."""
    if isinstance(chain, Zero):
        return "zero"
    return " -> ".join(map(operator_text, chain)) or "identity"


def operator_text(operator) -> str:
    match operator:
        case Conv(weight, stride, padding, dilation, groups):
            parts = [_times(weight.shape), _pads(padding), _each("stride", stride), _each("dilation", dilation)]
            parts.append(f"groups {groups}" if groups > 1 else "")
        case ConvTranspose(weight, stride, padding, groups):
            parts = [_times(weight.shape), _pads(padding), _each("stride", stride)]
            parts.append(f"groups {groups}" if groups > 1 else "")
        case Linear(weight) | Scale(weight):
            parts = [_times(weight.shape)]
        case SumPool(kernel, stride, padding):
            parts = [_times(kernel), _pads(padding), _each("stride", stride)]
        case Resample(matrices):
            parts = [" ".join(_times(m.shape) for m in matrices)]
        case Reshape(shape):
            parts = [_times(shape)]
        case Permute(axes):
            parts = [" ".join(map(str, axes))]
        case Slice(axis, start, stop, step):
            parts = [f"axis {axis}", f"{start}:{stop}" + (f":{step}" if step > 1 else "")]
        case Pad(padding):
            parts = [" ".join(map(_pair, padding))]
    return f"{type(operator).__name__}({', '.join(p for p in parts if p)})"


def _times(numbers) -> str:
    return "x".join(map(str, numbers))


def _each(name, numbers) -> str:
    return "" if set(numbers) == {1} else f"{name} {_times(numbers)}"


def _pads(padding) -> str:
    return f"pad {' '.join(map(_pair, padding))}" if any(n for pair in padding for n in pair) else ""


def _pair(pair) -> str:
    before, after = pair
    return str(before) if before == after else f"{before}+{after}"
