"""The same answer on another CPU, the table and the report. Expected values by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.cpus.compare import Run, compare, report, target_met
from bench.cpus.machines import EMULATED, Machine
from bench.table import table

NATIVE = Machine("native", "this CPU, native, AVX512 VNNI", "x86_64")
AVX2, DOT = EMULATED[0], EMULATED[1]
EXACT, SATURATED = 64 * 255 * 127, 32 * 32767


def run(
    machine: Machine, cats: dict[str, float], model: str = "ours", products: int = EXACT, check: str = "passes"
) -> Run:
    """A run of a model of two labels; `cats` is the probability of the first by photograph."""
    answers = {name: {"cats": value, "dogs": 1 - value} for name, value in cats.items()}
    return Run(model, machine, products, check, answers)


HERE = run(NATIVE, {"a": 0.9, "b": 0.2, "c": 0.505})


def test_a_run_is_the_same_as_itself() -> None:
    row = compare(HERE, HERE)
    assert (row.photographs, row.same_label, row.largest_difference, row.within_target) == (3, 3, 0.0, True)


def test_flipped_labels_are_counted_and_the_largest_difference_is_over_all_labels_and_photographs() -> None:
    row = compare(HERE, run(AVX2, {"a": 0.4, "b": 0.3, "c": 0.505}, products=SATURATED, check="refuses"))
    assert (row.same_label, row.photographs) == (2, 3)
    assert row.largest_difference == pytest.approx(0.5)
    assert (row.products, row.self_check) == ("saturate", "refuses")


def test_only_common_photographs_are_compared() -> None:
    row = compare(HERE, run(DOT, {"b": 0.2, "z": 0.7}))
    assert (row.photographs, row.same_label, row.largest_difference) == (1, 1, 0.0)


def test_without_common_photographs_the_target_is_missed() -> None:
    assert not compare(HERE, run(DOT, {"z": 0.7})).within_target


@pytest.mark.parametrize(
    ("machine", "moved", "within"),
    [(AVX2, 1e-7, True), (AVX2, 1e-4, False), (DOT, 1e-4, True), (DOT, 0.0099, True), (DOT, 0.0101, False)],
)
def test_x86_must_be_identical_but_for_float_rounding_and_arm64_within_a_hundredth(
    machine: Machine, moved: float, within: bool
) -> None:
    assert compare(HERE, run(machine, {"a": 0.9 - moved, "b": 0.2, "c": 0.505})).within_target is within


@pytest.mark.parametrize(("moved", "within"), [(0.0099, True), (0.0101, False)])
def test_the_familiarity_may_differ_by_a_hundredth(moved: float, within: bool) -> None:
    here, there = (replace(HERE, familiarity={"a": 0.5, "b": share}) for share in (0.3, 0.3 + moved))
    row = compare(here, there)
    assert row.familiarity_difference == pytest.approx(moved)
    assert row.within_target is within
    assert compare(HERE, HERE).familiarity_difference is None


def test_a_label_that_flips_misses_the_target_however_small_the_difference() -> None:
    row = compare(HERE, run(DOT, {"a": 0.9, "b": 0.2, "c": 0.499}))
    assert (row.largest_difference < 0.01, row.within_target) == (True, False)


def test_only_our_own_model_must_meet_the_target() -> None:
    plain = run(NATIVE, {"a": 0.9}, model="plain")
    bad = compare(plain, run(AVX2, {"a": 0.1}, model="plain", check="refuses"))
    good = compare(HERE, run(AVX2, {"a": 0.9, "b": 0.2, "c": 0.505}))
    assert target_met([good, bad], "ours")
    assert not target_met([bad], "ours")  # it was not measured
    assert not target_met([good, compare(HERE, run(AVX2, {"a": 0.1}))], "ours")


def test_a_cpu_on_which_the_function_would_not_start_misses_the_target() -> None:
    assert not target_met([compare(HERE, run(DOT, {"a": 0.9}, check="refuses"))], "ours")


def test_the_table_has_a_line_for_each_cpu() -> None:
    rows = [compare(HERE, HERE), compare(HERE, run(AVX2, {"a": 0.4, "b": 0.2}, products=SATURATED, check="refuses"))]
    head, native, avx2 = table("cpus", {"rows": rows, "model_width": 6, "cpu_width": 40}).splitlines()
    assert head.split()[:4] == ["model", "CPU", "same", "label"]
    assert head.split()[4:] == ["largest", "difference", "of", "familiarity", "products", "self-check"]
    assert native.split()[-7:] == ["3", "of", "3", "0", "-", "exact", "passes"]
    assert avx2.split()[-7:] == ["1", "of", "2", "0.5", "-", "saturate", "refuses"]
    assert "Haswell" in avx2


def test_the_report_is_json_with_the_rows_and_whether_the_target_is_met() -> None:
    result = json.loads(json.dumps(report([compare(HERE, HERE)], "ours", {"model_version": "vgg16-1"})))
    assert result["model_version"] == "vgg16-1"
    assert result["target"] == {"x86_64": 1e-6, "arm64": 0.01, "familiarity": 0.01, "met": True}
    assert result["rows"][0]["cpu"] == NATIVE.title
    assert result["rows"][0]["within_target"] is True
