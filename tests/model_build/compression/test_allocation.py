"""Channels and ranks for every layer within a time budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.compression.allocation import Losses, allocate
from model_build.compression.network import INPUT_COST, OUTPUT_COST, Shape

POOLED = (False, True, False)
FULL, SIZE = Shape((16, 32, 32), (None, None, None), POOLED), 8  # sides 8, 8 and 4
LOSSES = [
    Losses(np.linspace(0, 1, 16) ** 2, np.linspace(1, 0, 10) ** 2),
    Losses(np.linspace(0, 3, 32) ** 2, np.linspace(2, 0, 49) ** 2),
    Losses(np.zeros(1), np.linspace(1, 0, 97) ** 2),
]


def allocated(share: float, losses: list[Losses] = LOSSES) -> Shape:
    return allocate(losses, FULL, SIZE, share, 4)


def layer_cost(inputs: int, outputs: int, rank: int | None) -> int:
    """The cost of one position."""
    if rank is None:
        return 9 * inputs * outputs + INPUT_COST * inputs + OUTPUT_COST * outputs
    return 3 * inputs * rank + 3 * rank * outputs + INPUT_COST * (inputs + rank) + OUTPUT_COST * (rank + outputs)


def test_the_cost_of_a_network_is_the_sum_over_its_positions() -> None:
    shape = Shape((16, 32, 32), (None, 8, None), POOLED)
    expected = 64 * layer_cost(3, 16, None) + 64 * layer_cost(16, 32, 8) + 16 * layer_cost(32, 32, None)
    assert shape.cost(SIZE) == expected


@settings(max_examples=30, deadline=None)
@given(st.floats(0.4, 1.0))
def test_a_share_is_met_in_whole_steps_and_the_features_stay(share: float) -> None:
    shape = allocated(share)
    assert shape.cost(SIZE) <= share * FULL.cost(SIZE)
    assert shape.widths[-1] == 32
    assert all(width % 4 == 0 for width in shape.widths)
    assert all(rank is None or rank % 4 == 0 for rank in shape.ranks)


def test_nothing_changes_if_no_time_is_to_be_saved() -> None:
    assert allocated(1.0) == FULL


def test_the_layer_with_the_least_loss_per_time_saved_shrinks_first() -> None:
    costly, cheap = Losses(np.linspace(0, 9, 16), np.full(10, 9.0)), Losses(np.linspace(0, 0.001, 32), np.full(49, 9.0))
    shape = allocated(0.9, [costly, cheap, Losses(np.zeros(1), np.full(97, 9.0))])
    assert shape.widths[0] == 16
    assert shape.widths[1] < 32
    assert shape.ranks == FULL.ranks


def test_a_loss_counts_by_the_time_that_it_saves() -> None:
    # Four channels fewer in the first layer save the second layer's inputs as well: more than four of the second.
    first, second = (replace(FULL, widths=widths).cost(SIZE) for widths in ((12, 32, 32), (16, 28, 32)))
    saved, saved_by_second = FULL.cost(SIZE) - first, FULL.cost(SIZE) - second
    assert saved > 1.2 * saved_by_second
    more, less = 0.9 * saved / saved_by_second, 1.0  # the greater loss is the lower one for the time
    losses = [
        Losses(np.where(np.arange(16) < 4, 0, more), np.full(10, 99.0)),
        Losses(np.where(np.arange(32) < 4, 0, less), np.full(49, 99.0)),
        Losses(np.zeros(1), np.full(97, 99.0)),
    ]

    assert allocated(first / FULL.cost(SIZE), losses).widths == (12, 32, 32)


def test_channels_and_ranks_go_to_the_next_whole_step() -> None:
    costly = Losses(np.linspace(0, 9, 32), np.full(49, 99.0))
    by_channels = allocate(
        [Losses(np.zeros(17), np.full(10, 99.0)), costly], Shape((17, 32), (None, None), (False, False)), SIZE, 0.99, 4
    )
    assert by_channels.widths == (16, 32)

    ranks = np.where(np.arange(14) < 12, 5.0, 0.0)  # of at most 13, of which 12 loses nothing
    by_rank = allocated(
        0.9, [Losses(99.0 * np.arange(33), one) for one in (np.full(10, 99.0), ranks, np.full(97, 99.0))]
    )
    assert by_rank.ranks == (None, 12, None)


def test_a_kernel_of_low_rank_is_split_and_nothing_else_changes() -> None:
    free = np.where(np.arange(49) < 8, 5.0, 0.0)  # no loss down to rank 8
    costly = Losses(np.linspace(0, 9, 16), np.full(10, 9.0))
    shape = allocated(0.9, [costly, Losses(np.linspace(0, 9, 32), free), Losses(np.zeros(1), np.full(97, 9.0))])
    assert shape.widths == FULL.widths
    assert shape.ranks[1] is not None
    assert free[shape.ranks[1]] == 0.0


def test_a_lower_rank_costs_what_it_loses_beyond_the_present_one() -> None:
    # Layer 1 loses 1 at rank 8 and 3 at rank 4, so 2 from 8 to 4. A split of layer 2 loses 3 for the same time.
    split, costly = np.full(49, 1.0), np.full(10, 99.0)
    split[:8] = 3.0
    from_8_to_4 = 64 * (layer_cost(16, 32, 8) - layer_cost(16, 32, 4))
    by_a_split = 16 * (layer_cost(32, 32, None) - layer_cost(32, 32, 4))
    other = np.full(97, 3.0 * by_a_split / from_8_to_4)
    goal = replace(FULL, ranks=(None, 4, None)).cost(SIZE) / FULL.cost(SIZE)

    shape = allocated(goal, [Losses(99.0 * np.arange(33), ranks) for ranks in (costly, split, other)])

    assert shape.ranks == (None, 4, None)


def test_a_share_out_of_reach_leaves_one_step_in_every_layer() -> None:
    assert allocated(0.001).widths == (4, 4, 32)


def test_a_smaller_share_gives_a_lower_cost() -> None:
    costs = [allocated(share).cost(SIZE) for share in (0.8, 0.6, 0.4)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_the_same_losses_give_the_same_shape(share: float) -> None:
    assert allocated(share) == allocated(share)
