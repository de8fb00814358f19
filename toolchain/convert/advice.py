"""What to do instead of an operation that does not convert."""

_RELU = "use ReLU or ReLU6 and train again"
_ADVICE = {
    "leaky_relu": _RELU,
    "prelu": _RELU,
    "rrelu": _RELU,
    "elu": _RELU,
    "selu": _RELU,
    "celu": _RELU,
    "gelu": _RELU,
    "silu": _RELU,
    "mish": _RELU,
    "hardswish": _RELU,
    "softplus": _RELU,
    "tanh": _RELU,
    "abs": _RELU,
    "sigmoid": f"remove it from the network's end (a decision does not need it), or inside {_RELU}",
    "hardsigmoid": f"remove it from the network's end (a decision does not need it), or inside {_RELU}",
    "softmax": "remove it from the network's end: the class with the greatest logit stays the same",
    "_softmax": "remove it from the network's end: the class with the greatest logit stays the same",
    "log_softmax": "remove it from the network's end: the class with the greatest logit stays the same",
    "layer_norm": "use BatchNorm, which is a fixed scale after training",
    "native_layer_norm": "use BatchNorm, which is a fixed scale after training",
    "group_norm": "use BatchNorm, which is a fixed scale after training",
    "instance_norm": "use BatchNorm, which is a fixed scale after training",
    "rms_norm": "use BatchNorm, which is a fixed scale after training",
    "argmax": "return the logits; every report takes the argmax itself",
    "scaled_dot_product_attention": "attention multiplies activations; use convolutions and ReLU",
    "bmm": "it multiplies two activations; use fixed weights",
    "lstm": "recurrent layers are not supported; use convolutions over time and ReLU",
    "gru": "recurrent layers are not supported; use convolutions over time and ReLU",
    "embedding": "feed real-valued inputs",
    "max_pool2d_with_indices": "return_indices is not supported; use the maxima alone",
}


def advice(operation: str) -> str:
    """Return what would work instead of an unsupported operation."""
    return _ADVICE.get(operation, "docs/layers.md lists the operations that convert")
