"""Fewer operators, the same linear map: the rules, in the order that they are tried in."""

from __future__ import annotations

from toolchain.frontend.rewrites.compositions import (
    convolution_of_a_convolution,
    convolution_of_a_pointwise_one,
    convolution_of_a_transposed_one,
    matrix_behind_a_weight,
    matrix_of_a_matrix,
    pointwise_convolution,
    transposed_convolution_of_a_pointwise_one,
)
from toolchain.frontend.rewrites.joins import (
    identity,
    permutation_of_a_permutation,
    reshape_of_a_reshape,
)
from toolchain.frontend.rewrites.pads import (
    pad_before_a_convolution,
    pad_before_a_matrix,
    pad_before_a_permutation,
    pad_before_a_resampling,
    pad_before_a_reshape,
    pad_before_a_transposed_convolution,
    pad_before_whole_groups,
    pad_before_windows,
    pad_of_a_pad,
    spatial_pad_before_groups,
)
from toolchain.frontend.rewrites.rule import Chain, Rewritten, Rule, Zero
from toolchain.frontend.rewrites.scales import (
    scale_before_a_move,
    scale_into_the_weight_before,
    scale_into_the_weight_behind,
)
from toolchain.frontend.rewrites.slices import (
    slice_beside_a_pad,
    slice_of_a_channelwise_sum,
    slice_of_a_convolution,
    slice_of_a_grouped_convolution,
    slice_of_a_matrix,
    slice_of_a_pad,
    slice_of_a_permutation,
    slice_of_a_scale,
    slice_of_a_slice,
    slice_of_a_transposed_convolution,
)
from toolchain.netlist import Shape, chain_shapes

#: The first rule that fits is applied. A float product depends on the order of its factors, so this order is part of
#: what a network's weights are, to the last bit.
RULES: tuple[Rule, ...] = (
    identity,
    scale_into_the_weight_before,
    scale_into_the_weight_behind,
    slice_of_a_slice,
    slice_beside_a_pad,
    slice_of_a_pad,
    slice_of_a_scale,
    slice_of_a_permutation,
    slice_of_a_channelwise_sum,
    slice_of_a_matrix,
    slice_of_a_convolution,
    slice_of_a_grouped_convolution,
    slice_of_a_transposed_convolution,
    pad_of_a_pad,
    pad_before_a_permutation,
    pad_before_a_reshape,
    pad_before_a_matrix,
    pad_before_windows,
    pad_before_a_resampling,
    pad_before_a_convolution,
    pad_before_whole_groups,
    spatial_pad_before_groups,
    pad_before_a_transposed_convolution,
    scale_before_a_move,
    reshape_of_a_reshape,
    permutation_of_a_permutation,
    matrix_of_a_matrix,
    convolution_of_a_pointwise_one,
    pointwise_convolution,
    convolution_of_a_convolution,
    transposed_convolution_of_a_pointwise_one,
    convolution_of_a_transposed_one,
    matrix_behind_a_weight,
)


def simplify(operators: Chain, shape: Shape) -> Chain | Zero:
    """Rewrite a chain until no rule applies.

    Parameters
    ----------
    operators : tuple of Operator
    shape : tuple of int
        Shape of the source.

    Returns
    -------
    tuple of Operator, or Zero
        An equal chain, or `Zero` when it is the map to zero.
    """
    simple: Chain | Zero = operators
    while not isinstance(simple, Zero):
        rewritten = _rewrite_once(simple, shape)
        if rewritten is None:
            return simple
        simple = rewritten
    return simple


def _rewrite_once(chain: Chain, shape: Shape) -> Rewritten:
    """Apply the first rule that fits, at the first operator that one fits."""
    shapes = chain_shapes(chain, shape)
    for position in range(len(chain)):
        for rule in RULES:
            rewritten = rule.rewrite(chain, position, shapes)
            if rewritten is not None:
                return rewritten
    return None
