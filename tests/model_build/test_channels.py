import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_build.channels import allot, eliminate


def lost(values: np.ndarray, use: np.ndarray, kept: np.ndarray) -> float:
    """What of the outputs values @ use the kept channels cannot say, by numpy.linalg.lstsq: the independent oracle."""
    wanted = values @ use
    solution, *_ = np.linalg.lstsq(values[:, kept], wanted, rcond=None)
    return float(((values[:, kept] @ solution - wanted) ** 2).sum(axis=1).mean())


def centred_values(seed: int, channels: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(size=(400, channels)) @ random.normal(size=(channels, channels))
    return values - values.mean(axis=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_loss_is_that_of_least_squares_on_the_channels_that_stay(seed: int) -> None:
    values = centred_values(seed, 8)
    use = np.random.default_rng(seed + 1).normal(size=(8, 5))
    found = eliminate(values.T @ values / len(values), use)
    total = lost(values, use, np.array([], int))
    for count in range(1, 8):
        assert found.loss[8 - count] == pytest.approx(lost(values, use, found.kept(count)), rel=0.02, abs=2e-3 * total)
    assert (np.diff(found.loss) >= 0).all()


def test_the_first_to_go_is_the_one_whose_absence_costs_least() -> None:
    values = centred_values(3, 6)
    use = np.random.default_rng(4).normal(size=(6, 4))
    found = eliminate(values.T @ values / len(values), use)
    losses = [lost(values, use, np.delete(np.arange(6), channel)) for channel in range(6)]
    assert found.order[0] == np.argmin(losses)


def test_copies_and_silent_channels_go_first_and_cost_nothing() -> None:
    three = centred_values(5, 3)
    values = np.column_stack([three, three[:, 0], np.zeros(len(three)), three[:, 2]])
    found = eliminate(values.T @ values / len(values), np.ones((6, 1)) * np.arange(1.0, 7.0)[:, None])
    assert found.loss[3] < 0.01 * found.loss[-1] < found.loss[4]
    assert 1 in found.kept(3)


def test_a_channel_that_nobody_listens_to_goes_before_a_loud_one() -> None:
    found = eliminate(np.diag([1.0, 100.0, 2.0]), np.array([[1.0], [0.0], [1.0]]))
    assert found.order[0] == 1
    assert list(found.kept(2)) == [0, 2]


PRICES = np.array([4.0, 8.0, 8.0])
FULL = [16, 32, 32]
LOSSES = [np.linspace(0, 1, 16) ** 2, np.linspace(0, 3, 32) ** 2]


def price(widths: list[int]) -> float:
    one, two, three = (width / full for width, full in zip(widths, FULL, strict=True))
    return 4 * one + 8 * one * two + 8 * two * three


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 1.0), st.floats(0.2, 1.0))
def test_a_smaller_budget_is_kept_and_leaves_no_layer_more_channels(one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    few, many = (allot(LOSSES, PRICES, FULL, share, 4) for share in (smaller, larger))
    assert price(few) <= smaller * 20 + 1e-9
    assert all(a <= b for a, b in zip(few, many, strict=True))
    assert few[-1] == 32
    assert all(width % 4 == 0 for width in few)


def test_nothing_goes_where_nothing_need_be_saved() -> None:
    assert allot(LOSSES, PRICES, FULL, 1.0, 4) == FULL


def test_the_layer_that_saves_most_for_its_loss_gives_first() -> None:
    dear = [np.linspace(0, 1, 16), np.linspace(0, 0.001, 32)]
    first, second, _ = allot(dear, PRICES, FULL, 0.9, 4)
    assert first == 16
    assert second < 32


def test_what_no_budget_allows_leaves_one_step_in_each_layer() -> None:
    assert allot(LOSSES, PRICES, FULL, 0.001, 4) == [4, 4, 32]
