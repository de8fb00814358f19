"""What happened in layers is one line of each kind."""

from toolchain.quantize import Remark, summed_up


def test_one_layer_is_named_with_its_counts():
    assert list(summed_up([Remark("conv1", "biases rounded to the field", 3, 16, 2.0)])) == [
        "conv1: 3 of 16 biases rounded to the field, by at most 2"
    ]


def test_layers_are_counted_and_the_first_five_named():
    dead = [Remark(f"conv{i}", "channels are dead", i, 10) for i in range(1, 8)]
    rounded = [Remark("conv1", "biases rounded", 1, 4, 0.5), Remark("fc", "biases rounded", 2, 4, 8.0)]
    assert list(summed_up([*rounded[:1], *dead, *rounded[1:]])) == [
        "in 2 layers, 3 of 8 biases rounded, by at most 8: conv1 (1), fc (2)",
        "in 7 layers, 28 of 70 channels are dead: conv1 (1), conv2 (2), conv3 (3), conv4 (4), conv5 (5) and 2 more",
    ]
    assert list(summed_up([])) == []
