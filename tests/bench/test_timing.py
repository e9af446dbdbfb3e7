"""Medians, quartiles, ratios, turns and timings."""

from __future__ import annotations

import random
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.timing import ratio, spread, take_turns, timed, turns


def test_half_of_the_rounds_lie_between_the_quartiles():
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "rounds": 5}


def test_quartiles_are_interpolated_between_values():
    assert spread([10.0, 20.0]) == {"median": 15.0, "low": 12.5, "high": 17.5, "rounds": 2}


def test_one_round_has_no_spread():
    assert spread([7.0]) == {"median": 7.0, "low": 7.0, "high": 7.0, "rounds": 1}


def test_without_a_round_there_is_no_figure():
    with pytest.raises(ValueError, match="no rounds"):
        spread([])


def test_one_disturbed_round_does_not_move_the_figure():
    assert spread([10.0, 10.0, 10.0, 10.0, 500.0])["median"] == 10.0


def test_a_busy_round_cancels_out_of_a_ratio():
    chance = random.Random(7)
    load = [chance.uniform(1, 5) for _ in range(9)]
    taken = ratio([3.5 * busy for busy in load], [1.0 * busy for busy in load])
    assert (taken["low"], taken["median"], taken["high"]) == (3.5, 3.5, 3.5)


def test_a_ratio_is_of_rounds_and_not_of_medians():
    assert ratio([1.0, 9.0, 2.0], [1.0, 3.0, 4.0])["median"] == 1.0  # of 1, 3 and 0.5; the medians' is 2 / 3


def test_sides_of_a_ratio_have_as_many_rounds():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratio([1.0, 2.0], [1.0])


def test_figures_have_four_significant_digits():
    assert spread([1234.5678])["median"] == 1235.0
    assert spread([0.00123456])["median"] == 0.001235


@given(st.lists(st.floats(0.001, 1e6), min_size=2, max_size=40))
def test_the_quartiles_enclose_the_median_of_any_rounds(values: list[float]):
    figure, rounding = spread(values), 1 + 1e-3
    assert min(values) / rounding <= figure["low"] <= figure["median"] <= figure["high"] <= max(values) * rounding
    assert figure["median"] == pytest.approx(statistics.median(values), rel=1e-3)


def test_all_take_part_in_every_round():
    assert all(sorted(order) == ["a", "b", "c"] for order in turns(["a", "b", "c"], 7))


def test_two_contenders_go_first_equally_often():
    assert [order[0] for order in turns(["handler", "bare"], 4)] == ["handler", "bare", "bare", "handler"]


@given(st.integers(2, 7))
def test_over_twice_as_many_rounds_as_contenders_each_goes_first_and_last_twice(number: int):
    names = [str(index) for index in range(number)]
    orders = list(turns(names, 2 * number))
    for position in (0, -1):
        assert sorted(order[position] for order in orders) == sorted(2 * names)


def test_everybody_follows_different_neighbours():
    orders = turns(["x", "y", "z"], 6)
    followed = {(one, other) for order in orders for one, other in pairwise(order)}
    assert followed == {(one, other) for one in "xyz" for other in "xyz" if one != other}


def test_warm_up_rounds_do_not_count():
    calls: list[str] = []
    work = {name: lambda name=name: calls.append(name) or len(calls) for name in ("a", "b")}
    assert take_turns(work, rounds=2) == {"a": [4, 6], "b": [3, 5]}
    assert calls == ["a", "b", "b", "a", "b", "a"]


def test_the_pause_after_a_run_is_not_in_its_seconds():
    assert timed(lambda: None, pause=0.05).seconds < 0.05
