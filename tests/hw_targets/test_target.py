"""Target files: every number has a source, a user's own file works alike, and mistakes are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_targets.fields import fit_bias, fit_threshold, unit_of
from hw_targets.target import BASES, Target, available_targets, load_target
from toolchain.netlist import FormatError, InputError, TargetError

NUMBERS = set(Target.__dataclass_fields__) - {"name", "title", "kind", "chip", "facts"}

OWN = """
name = "own"
title = "My chip"
[facts.payload_bits]
value = 1
source = "data sheet, p. 3"
basis = "vendor"
[facts.cores_per_chip]
unknown = "the data sheet is silent"
"""


@pytest.mark.parametrize("name", available_targets())
def test_every_number_of_a_shipped_target_has_a_source_or_a_reason(name):
    target = load_target(name)
    assert target.name == name
    assert set(target.facts) == NUMBERS
    for field, fact in target.facts.items():
        assert getattr(target, field) == fact.value
        assert fact.source
        assert fact.basis in {*BASES, "unknown"}
        assert (fact.basis == "unknown") == (fact.value is None)


@pytest.mark.parametrize("system", [t for t in available_targets() if load_target(t).kind == "system"])
def test_a_system_is_its_chip_and_a_number_of_chips(system):
    target = load_target(system)
    chip = load_target(target.chip)
    assert chip.chips is None
    assert target.chips is not None
    differing = {f for f in NUMBERS if getattr(target, f) != getattr(chip, f)}
    assert differing == ({"chips", "cores_per_chip"} if system == "hala_point" else {"chips"})


def test_the_boards_have_the_published_sizes():
    assert load_target("kapoho_point").cores == 8 * 128
    assert load_target("hala_point").cores == 140_544


@pytest.mark.parametrize(
    ("typed", "meant"), [("loihi-2", "loihi2"), ("Loihi2", "loihi2"), ("kapoho_piont", "kapoho_point")]
)
def test_a_mistyped_name_suggests_the_near_one(typed, meant):
    with pytest.raises(InputError, match=f"did you mean '{meant}'"):
        load_target(typed)


def test_a_file_of_the_users_own_works_the_same_way(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    target = load_target(path)
    assert (target.binary, target.kind, target.cores_per_chip, target.weight_bits) == (True, "chip", None, None)
    assert target.facts["cores_per_chip"].source == "the data sheet is silent"


def test_a_system_of_the_users_own_names_a_shipped_chip(tmp_path):
    path = tmp_path / "board.toml"
    path.write_text(
        'name = "board"\ntitle = "B"\nchip = "loihi2"\n[facts.chips]\nvalue = 3\nsource = "us"\nbasis = "vendor"\n'
    )
    assert load_target(path).cores == 3 * 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('basis = "vendor"', 'basis = "guess"'), "basis 'guess' found"),
        (('source = "data sheet, p. 3"\n', ""), "expected value, source and basis"),
        (("payload_bits", "payload_bit"), "did you mean 'payload_bits'"),
        (("value = 1", "value = true"), "expected int"),
        (("value = 1", "value = -1"), "expected int of at least 0"),
        (("value = 1", "value = 0"), "payload_bits is 0"),
        (("value = 1", "value = [1, 2]"), "expected int"),
        (('unknown = "the data sheet is silent"', 'unknown = ""'), "has its reason"),
        (('title = "My chip"', 'chip = "loihi3"\ntitle = "My chip"'), "no shipped target"),
        (('title = "My chip"', 'chip = "kapoho_point"\ntitle = "My chip"'), "is a system"),
        (('name = "own"', "name = own"), "no valid TOML"),
        (('name = "own"', "colour = 3"), "unknown keys"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(tmp_path, change, message):
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace(*change))
    with pytest.raises(FormatError, match=message) as caught:
        load_target(path)
    assert str(path) in caught.value.where


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot read the target file"):
        load_target(tmp_path / "none.toml")


HELD = np.unique([m << e for e in range(8) for m in range(-4096, 4096)])


#: The greatest bias that rounds to one that Loihi 2 holds, 4095 * 128: halfway to the next is rounded to even, up.
MOST = 4095 * 128 + 63


@given(st.lists(st.integers(-(2**19), MOST), min_size=1, max_size=8))
def test_a_fitted_bias_is_the_nearest_that_the_field_holds(biases):
    target = load_target("loihi2")
    exact = np.asarray(biases)
    fitted = fit_bias(target, exact)
    nearest = np.abs(HELD[:, np.newaxis] - exact).min(axis=0)
    np.testing.assert_array_equal(np.abs(fitted - exact), nearest)
    np.testing.assert_array_equal(fit_bias(target, fitted), fitted)


@given(st.lists(st.integers(-(2**19), 2**20), max_size=8), st.integers(MOST + 1, 2**30))
def test_a_bias_beyond_the_field_is_refused(biases, beyond):
    with pytest.raises(TargetError, match="beyond"):
        fit_bias(load_target("loihi2"), np.asarray([*biases, beyond]), "layer")


@given(st.lists(st.integers(1, 2**17 - 1), min_size=1, max_size=20))
def test_fitted_thresholds_share_a_unit_and_are_near(thresholds):
    target = load_target("loihi1")
    exact = np.asarray(thresholds)
    fitted = fit_threshold(target, exact)
    unit = unit_of(target, fitted)
    assert unit is not None
    assert np.all((fitted << unit) % 64 == 0)
    assert np.all((fitted << unit) >> 6 < 2**17)
    assert np.all(np.abs(fitted - exact) * 8 <= exact)


def test_thresholds_that_are_too_far_apart_are_refused():
    with pytest.raises(TargetError, match="thresholds 1 and 1000000 do not share an exponent") as caught:
        fit_threshold(load_target("loihi2"), np.array([1, 1_000_000]), "conv")
    assert caught.value.where == "conv"


def test_coarser_units_are_taken_where_thresholds_are_large():
    target = load_target("loihi1")
    assert unit_of(target, fit_threshold(target, np.array([5000, 70001]))) == 0
    assert unit_of(target, fit_threshold(target, np.array([100, 7000]))) == 1
    np.testing.assert_array_equal(fit_threshold(target, np.array([100, 7003])), [96, 7008])


def test_a_bias_is_held_in_its_populations_unit():
    target = load_target("loihi1")
    coarse, fine = np.array([5120]), np.array([5])
    assert fit_bias(target, np.array([524160]), threshold=coarse)[0] == 524160
    with pytest.raises(TargetError, match=r"times up to 2\*\*1 "):
        fit_bias(target, np.array([524160]), threshold=fine)


def test_what_is_unknown_changes_nothing():
    target = load_target("truenorth")
    np.testing.assert_array_equal(fit_bias(target, np.array([12345678])), [12345678])
    np.testing.assert_array_equal(fit_threshold(target, np.array([12345678])), [12345678])


def test_a_threshold_beyond_the_field_is_named():
    with pytest.raises(TargetError, match="conv1: threshold 9000000 found, Intel Loihi 2 holds at most 8388544"):
        fit_threshold(load_target("loihi2"), np.array([9_000_000]), "conv1")
