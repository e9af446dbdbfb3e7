"""Who gives what, so that the whole takes no more than its share of the time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.compression.allocation import Losses, Shape, allot
from model_build.compression.network import INPUT_COST, OUTPUT_COST, layer_cost

FULL, SIDES = Shape((16, 32, 32), (None, None, None)), [8, 8, 4]
LOSSES = [
    Losses(np.linspace(0, 1, 16) ** 2, np.linspace(1, 0, 10) ** 2),
    Losses(np.linspace(0, 3, 32) ** 2, np.linspace(2, 0, 49) ** 2),
    Losses(np.zeros(1), np.linspace(1, 0, 97) ** 2),
]


def allotted(share: float, losses: list[Losses] = LOSSES, **which: Any) -> Shape:
    return allot(losses, FULL, SIDES, share, 4, **which)


def test_the_cost_of_a_layer_is_counted_by_hand() -> None:
    assert layer_cost(3, 16, None) == 9 * 3 * 16 + INPUT_COST * 3 + OUTPUT_COST * 16
    assert layer_cost(16, 32, 8) == 3 * 16 * 8 + 3 * 8 * 32 + INPUT_COST * (16 + 8) + OUTPUT_COST * (8 + 32)


def test_the_cost_of_a_network_is_that_of_its_places() -> None:
    shape = Shape((16, 32, 32), (None, 8, None))
    expected = 64 * layer_cost(3, 16, None) + 64 * layer_cost(16, 32, 8) + 16 * layer_cost(32, 32, None)
    assert shape.cost(SIDES) == expected


@settings(max_examples=30, deadline=None)
@given(st.floats(0.4, 1.0), st.booleans())
def test_a_share_is_kept_in_whole_steps_and_the_features_stay(share: float, channels: bool) -> None:
    found = allotted(share, channels=channels)
    assert found.cost(SIDES) <= share * FULL.cost(SIDES)
    assert found.widths[-1] == 32
    assert all(width % 4 == 0 for width in found.widths)
    assert all(rank is None or rank % 4 == 0 for rank in found.ranks)
    assert channels or found.widths == FULL.widths


def test_nothing_goes_where_nothing_need_be_saved() -> None:
    assert allotted(1.0) == FULL


def test_what_is_not_to_change_does_not() -> None:
    assert allotted(0.5, ranks=False).ranks == FULL.ranks
    assert allotted(0.5, channels=False).widths == FULL.widths


def test_the_layer_that_loses_least_for_the_time_it_saves_gives_first() -> None:
    dear, cheap = Losses(np.linspace(0, 9, 16), np.full(10, 9.0)), Losses(np.linspace(0, 0.001, 32), np.full(49, 9.0))
    found = allotted(0.9, [dear, cheap, Losses(np.zeros(1), np.full(97, 9.0))])
    assert found.widths[0] == 16
    assert found.widths[1] < 32
    assert found.ranks == FULL.ranks


def test_a_kernel_that_has_a_low_rank_already_is_split_and_nothing_else_changes() -> None:
    free = np.where(np.arange(49) < 8, 5.0, 0.0)  # nothing is lost down to rank 8
    dear = Losses(np.linspace(0, 9, 16), np.full(10, 9.0))
    found = allotted(0.9, [dear, Losses(np.linspace(0, 9, 32), free), Losses(np.zeros(1), np.full(97, 9.0))])
    assert found.widths == FULL.widths
    assert found.ranks[1] is not None
    assert free[found.ranks[1]] == 0.0


def test_a_share_out_of_reach_leaves_one_step_everywhere() -> None:
    assert allotted(0.001).widths == (4, 4, 32)


def test_fewer_channels_make_more_loss_than_more_of_them() -> None:
    losses = [allotted(share).cost(SIDES) for share in (0.8, 0.6, 0.4)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_the_same_losses_give_the_same_shape(share: float) -> None:
    assert allotted(share) == allotted(share)
