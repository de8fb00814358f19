"""Provenance: what was written is read back, and what is something else is neither shown nor lost."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.netlist import Measured, Origin, Provenance, Score, SensitivityTable, StageScores, TaskRecord
from toolchain.netlist.provenance import (
    CompressionRecord,
    EarlyExitRecord,
    Exits,
    FiringRecord,
    Predicted,
    SearchRecord,
    Trial,
)

MEASURED = Measured(0.25, 0.9, 1e6)
TABLE = SensitivityTable(("a", "b"), (1.0, 2.0), np.array([[0.1, 0.2], [0.3, 0.1]]), np.ones((2, 2)), np.array([0, 1]))
TRIAL = Trial(MEASURED, predicted=Predicted(0.1, 2e6), phi=(4, 1))
WHOLE = Provenance(
    network=Origin("ResNet20", "0" * 64, 41_000_000, 42_000_000),
    calibration_data="1" * 64,
    recipe={"timesteps": 8, "init": "half", "alpha_base": None, "budget": 1.5, "early_exit": True},
    adafire="0.1.0",
    notes=("conv1: 2 of 16 biases rounded",),
    search=SearchRecord(
        "layers",
        {"a": 4, "b": 1},
        MEASURED,
        uniform=MEASURED,
        firing=FiringRecord(
            1.0, MEASURED, (Trial(MEASURED, predicted=Predicted(0.1, 2e6), phi=(4, 1)),), MEASURED, {"a": 4}
        ),
        firing_table=TABLE,
        compression=CompressionRecord(0.02, MEASURED, MEASURED, (Trial(MEASURED, 2e6), Trial(MEASURED, rho=(1.5,)))),
    ),
    task=TaskRecord("segmentation", ("sky", "road"), None),
    evaluation=StageScores(
        "val.npz",
        "2" * 64,
        256,
        Score("mIoU", 0.9, {"dice": 0.95}, {"IoU": (0.9, None)}),
        Score("mIoU", 0.875),
        Score("mIoU", 0.8),
        (0.7, 0.8),
        3,
    ),
    early_exit=EarlyExitRecord(Exits(0.9, 0.9, 3.5), Exits(0.8, 0.75, 4.5), margin=0.001),
    imported="net.nir",
    unrolled_from="3" * 64,
    other={"seed": 3},
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_everything_comes_back():
    written = WHOLE.to_json()
    back = Provenance.from_json(json.loads(json.dumps(written, allow_nan=False)))
    assert back.to_json() == written
    assert back.other == {"seed": 3}
    assert (back.network, back.evaluation, back.early_exit) == (WHOLE.network, WHOLE.evaluation, WHOLE.early_exit)
    assert back.search.compression == WHOLE.search.compression
    np.testing.assert_array_equal(back.search.firing_table.increase, TABLE.increase)


def test_what_is_missing_is_not_written():
    assert Provenance().to_json() == {}
    assert Provenance(notes=()).to_json() == {"notes": []}


@given(part=st.sampled_from(sorted(WHOLE.to_json())), value=JSON)
def test_a_part_that_is_something_else_is_kept_aside(part, value):
    found = Provenance.from_json({**WHOLE.to_json(), part: value})
    assert found.to_json() == {**WHOLE.to_json(), part: value}
    assert found.adafire == "0.1.0" or part == "adafire"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("search", "measured", "divergence"), "low"),
        (("search", "measured", "operations"), True),
        (("search", "firing_table", "base"), [0, 2]),
        (("search", "firing_table", "divergence"), [[0.1, 0.2]]),
        (("search", "firing", "candidates", 0, "phi"), [1.5]),
        (("search", "strategies"), "layers"),
        (("evaluation", "scores", "ann", "value"), None),
        (("early_exit", "samples", "agreement"), float("inf")),
        (("network", "ann_macs"), "9" * 19),
        (("network", "ann_macs_with_padding"), "-1"),
        (("notes",), ["one", 2]),
        (("recipe", "timesteps"), [8]),
    ],
)
def test_a_value_that_is_not_what_its_record_says(path, value):
    document = json.loads(json.dumps(WHOLE.to_json()))
    *outer, last = path
    place = document
    for key in outer:
        place = place[key]
    place[last] = value
    found = Provenance.from_json(document)
    assert getattr(found, path[0]) is None
    assert found.other[path[0]] == document[path[0]]
    assert found.to_json() == document


def test_a_file_made_before_records_is_read():
    """As conversions have written it since the first version."""
    found = Provenance.from_json({"network": {"class": "Net", "weights_sha256": "0", "ann_macs": "12"}, "notes": []})
    assert (found.network.name, found.network.ann_macs, found.notes, found.other) == ("Net", 12, (), {})


def test_the_target_is_read_from_the_recipe():
    assert Provenance(recipe={"target": "loihi2"}).target == "loihi2"
    assert Provenance(recipe={"target": None}).target is None
    assert Provenance().target is None
