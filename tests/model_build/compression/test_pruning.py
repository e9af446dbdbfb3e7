import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import lars_path

from model_build.compression.pruning import eliminate, lasso, loss_without, regularised


def least_squares_loss(values: np.ndarray, weights: np.ndarray, kept: np.ndarray) -> float:
    """Squared error of the outputs values @ weights, predicted from the kept channels by numpy.linalg.lstsq."""
    target = values @ weights
    solution, *_ = np.linalg.lstsq(values[:, kept], target, rcond=None)
    return float(((values[:, kept] @ solution - target) ** 2).sum(axis=1).mean())


def centred_values(seed: int, channels: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(size=(400, channels)) @ random.normal(size=(channels, channels))
    return values - values.mean(axis=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_loss_is_that_of_least_squares_on_the_remaining_channels(seed: int) -> None:
    values = centred_values(seed, 8)
    weights = np.random.default_rng(seed + 1).normal(size=(8, 5))
    elimination = eliminate(values.T @ values / len(values), weights)
    total = least_squares_loss(values, weights, np.array([], int))
    for count in range(1, 8):
        assert elimination.loss[8 - count] == pytest.approx(
            least_squares_loss(values, weights, elimination.kept(count)), rel=0.02, abs=2e-3 * total
        )
    assert (np.diff(elimination.loss) >= 0).all()


def test_the_channel_with_the_least_loss_is_removed_first() -> None:
    values = centred_values(3, 6)
    weights = np.random.default_rng(4).normal(size=(6, 4))
    elimination = eliminate(values.T @ values / len(values), weights)
    losses = [least_squares_loss(values, weights, np.delete(np.arange(6), channel)) for channel in range(6)]
    assert elimination.order[0] == np.argmin(losses)


def test_copies_and_zero_channels_are_removed_first_without_loss() -> None:
    three = centred_values(5, 3)
    values = np.column_stack([three, three[:, 0], np.zeros(len(three)), three[:, 2]])
    elimination = eliminate(values.T @ values / len(values), np.ones((6, 1)) * np.arange(1.0, 7.0)[:, None])
    assert elimination.loss[3] < 0.01 * elimination.loss[-1] < elimination.loss[4]
    assert 1 in elimination.kept(3)


def test_an_unused_channel_is_removed_before_a_used_one_however_strong() -> None:
    elimination = eliminate(np.diag([1.0, 100.0, 2.0]), np.array([[1.0], [0.0], [1.0]]))
    assert elimination.order[0] == 1
    assert list(elimination.kept(2)) == [0, 2]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_loss_without_channels_is_that_of_least_squares(seed: int) -> None:
    values = centred_values(seed, 8)
    weights = np.random.default_rng(seed + 1).normal(size=(8, 5))
    kept = np.array([0, 2, 5])
    loss = loss_without(values.T @ values / len(values), weights @ weights.T, kept)
    assert loss == pytest.approx(
        least_squares_loss(values, weights, kept),
        rel=0.02,
        abs=2e-3 * least_squares_loss(values, weights, np.array([], int)),
    )


def test_lasso_keeps_what_scikit_learn_keeps_of_the_values_themselves() -> None:
    values = centred_values(7, 6)
    weights = np.random.default_rng(8).normal(size=(6, 4))
    kept = lasso(values.T @ values / len(values), weights @ weights.T, 3)
    parts = np.stack([np.outer(values[:, each], weights[each]).ravel() for each in range(6)], axis=1)
    _, _, path = lars_path(parts, parts.sum(axis=1), method="lasso")
    first = next(step for step in path.T if (step != 0).sum() >= 3)
    assert list(kept) == list(np.flatnonzero(first))


def test_lasso_fills_up_where_its_path_ends_early() -> None:
    silent = np.diag([0.0, 4.0, 0.0, 9.0])
    assert list(lasso(silent, np.eye(4), 2)) == [1, 3]
    assert len(lasso(silent, np.eye(4), 3)) == 3


def test_a_ten_thousandth_of_the_mean_variance_makes_a_covariance_regular() -> None:
    np.testing.assert_allclose(regularised(np.diag([0.0, 6.0])), np.diag([3e-4, 6 + 3e-4]), rtol=1e-9)
    np.testing.assert_array_equal(regularised(np.zeros((2, 2))), np.eye(2))
