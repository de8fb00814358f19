"""What to do instead of an operation that cannot be read."""

#: Where to look when nothing better is known.
LIST = "docs/layers.md lists what converts"

ACTIVE_DROPOUT = "it drops values in eval mode, too: write F.dropout(x, training=self.training), or use nn.Dropout"
_RANDOM = "if it is of F.dropout2d or the like, that is active in eval mode, too: pass training=self.training"
_AT_THE_END = "the host computes it at the network's end, where no weights come after it"
_ADVICE = {
    "softmax": _AT_THE_END,
    "_softmax": _AT_THE_END,
    "log_softmax": _AT_THE_END,
    "layer_norm": "use BatchNorm, which is a fixed scale after training",
    "native_layer_norm": "use BatchNorm, which is a fixed scale after training",
    "group_norm": "use BatchNorm, which is a fixed scale after training",
    "instance_norm": "use BatchNorm, which is a fixed scale after training",
    "rms_norm": "use BatchNorm, which is a fixed scale after training",
    "_native_batch_norm_legit": "use BatchNorm with running statistics",
    "argmax": _AT_THE_END,
    "scaled_dot_product_attention": "attention multiplies activations; use convolutions and ReLU",
    "native_dropout": ACTIVE_DROPOUT,
    "new_empty": _RANDOM,  # F.dropout2d and F.alpha_dropout begin with an empty mask
    "empty_like": _RANDOM,
    "bernoulli": _RANDOM,
    "rand_like": "random numbers make no fixed network; draw them in training alone",
    "randn_like": "random numbers make no fixed network; draw them in training alone",
    "linalg_vector_norm": "leave it out before a last layer without bias: the same class stays greatest",
    "grid_sampler_2d": "do it before the network",
    "_fft_r2c": "do it before the network",
    "embedding": "feed real-valued inputs",
    "max_pool2d_with_indices": "return_indices is not supported; use the maxima alone",
}

_RECURRENT = "use convolutions over time and ReLU; the spiking network has its own time axis"
#: Layers of torch.nn that consist of many operations, refused as what they are.
UNSUPPORTED_LAYERS = {
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "LSTMCell": _RECURRENT,
    "GRUCell": _RECURRENT,
    "RNNCell": _RECURRENT,
    "MultiheadAttention": "attention multiplies activations; use convolutions and ReLU",
}


def advice(operation: str) -> str:
    """Return what would work instead of an unsupported operation."""
    return _ADVICE.get(operation, LIST)


#: ONNX operators by the ATen operation whose advice holds for them too.
_ONNX_AS_ATEN = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "LayerNormalization": "layer_norm",
    "GroupNormalization": "group_norm",
    "InstanceNormalization": "instance_norm",
    "ArgMax": "argmax",
    "ReduceL2": "linalg_vector_norm",
    "LpNormalization": "linalg_vector_norm",
    "GridSample": "grid_sampler_2d",
    "DFT": "_fft_r2c",
    "STFT": "_fft_r2c",
    "Bernoulli": "bernoulli",
    "RandomNormalLike": "randn_like",
    "RandomUniformLike": "rand_like",
}


def onnx_advice(operator: str) -> str:
    """Return what would work instead of an unsupported ONNX operator."""
    if operator in ("LSTM", "GRU", "RNN"):
        return _RECURRENT
    return advice(_ONNX_AS_ATEN.get(operator, ""))
