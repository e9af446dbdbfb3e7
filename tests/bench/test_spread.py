"""Medians, quartiles, ratios and turns."""

from __future__ import annotations

import random
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.spread import Spread, ratio, spread, turns


def test_half_of_the_rounds_lie_between_the_quartiles():
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(median=3.0, low=2.0, high=4.0, rounds=5)


def test_quartiles_are_interpolated_between_values():
    assert spread([10.0, 20.0]) == Spread(15.0, 12.5, 17.5, 2)


def test_one_round_has_no_spread():
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def test_without_a_round_there_is_no_figure():
    with pytest.raises(ValueError, match="no rounds"):
        spread([])


def test_one_disturbed_round_does_not_move_the_figure():
    assert spread([10.0, 10.0, 10.0, 10.0, 500.0]).median == 10.0


def test_a_busy_round_cancels_out_of_a_ratio():
    chance = random.Random(7)
    load = [chance.uniform(1, 5) for _ in range(9)]
    taken = ratio([3.5 * busy for busy in load], [1.0 * busy for busy in load])
    assert (taken.low, taken.median, taken.high) == pytest.approx((3.5, 3.5, 3.5))


def test_a_ratio_is_of_rounds_and_not_of_medians():
    assert ratio([1.0, 9.0, 2.0], [1.0, 3.0, 4.0]).median == 1.0  # of 1, 3 and 0.5; the medians' is 2 / 3


def test_sides_of_a_ratio_have_as_many_rounds():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratio([1.0, 2.0], [1.0])


def test_json_has_four_significant_digits_and_whole_rounds():
    found = Spread(1234.5678, 0.00123456, 2.0, 15).to_json()
    assert found == {"median": 1235.0, "low": 0.001235, "high": 2.0, "rounds": 15}


@given(st.lists(st.floats(0.001, 1e6), min_size=2, max_size=40))
def test_the_quartiles_enclose_the_median_of_any_rounds(values: list[float]):
    found = spread(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.median == pytest.approx(statistics.median(values))


def test_all_take_part_in_every_round():
    assert all(sorted(order) == ["a", "b", "c"] for order in turns(["a", "b", "c"], 7))


def test_two_contenders_go_first_equally_often():
    assert [order[0] for order in turns(["handler", "bare"], 4)] == ["handler", "bare", "bare", "handler"]


@given(st.integers(2, 7))
def test_over_twice_as_many_rounds_as_contenders_each_goes_first_and_last_twice(number: int):
    names = [str(index) for index in range(number)]
    orders = list(turns(names, 2 * number))
    for place in (0, -1):
        assert sorted(order[place] for order in orders) == sorted(2 * names)


def test_everybody_follows_different_neighbours():
    orders = turns(["x", "y", "z"], 6)
    followed = {(one, other) for order in orders for one, other in pairwise(order)}
    assert followed == {(one, other) for one in "xyz" for other in "xyz" if one != other}
