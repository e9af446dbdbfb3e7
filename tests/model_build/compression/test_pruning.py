import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import lars_path

from model_build.compression.pruning import eliminate, lasso, loss_without


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


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_what_is_lost_without_channels_is_that_of_least_squares(seed: int) -> None:
    values = centred_values(seed, 8)
    use = np.random.default_rng(seed + 1).normal(size=(8, 5))
    kept = np.array([0, 2, 5])
    found = loss_without(values.T @ values / len(values), use @ use.T, kept)
    assert found == pytest.approx(lost(values, use, kept), rel=0.02, abs=2e-3 * lost(values, use, np.array([], int)))


def test_lasso_keeps_what_scikit_learn_keeps_of_the_values_themselves() -> None:
    values = centred_values(7, 6)
    use = np.random.default_rng(8).normal(size=(6, 4))
    kept = lasso(values.T @ values / len(values), use @ use.T, 3)
    parts = np.stack([np.outer(values[:, each], use[each]).ravel() for each in range(6)], axis=1)
    _, _, path = lars_path(parts, parts.sum(axis=1), method="lasso")
    first = next(step for step in path.T if (step != 0).sum() >= 3)
    assert list(kept) == list(np.flatnonzero(first))


def test_lasso_fills_up_where_its_path_ends_early() -> None:
    silent = np.diag([0.0, 4.0, 0.0, 9.0])
    assert list(lasso(silent, np.eye(4), 2)) == [1, 3]
    assert len(lasso(silent, np.eye(4), 3)) == 3
