from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.capacity.queueing import Scaling, Times, burst, constant, daily, simulate

arrival_times = st.lists(st.floats(0, 200), min_size=1, max_size=60).map(lambda times: np.sort(np.array(times)))


def fixed(most: int) -> Scaling:
    """A constant number of invocations at once; environments never end."""
    return Scaling(most, start=most, keep=math.inf, calm=math.inf)


def takes(seconds: float, per_image: float = 0.0) -> Callable[[int], float]:
    return lambda images: seconds + per_image * images


# ---- cases worked out by hand -----------------------------------------------------------------------------


def test_two_servers_of_two_seconds_keep_up_with_one_arrival_a_second() -> None:
    run = simulate(np.arange(10.0), takes(2), fixed(2), batch_size=1)
    assert run.age.tolist() == [0.0] * 10
    assert run.finished.tolist() == [time + 2 for time in range(10)]
    assert run.most_at_once == 2
    assert run.busy_seconds == 20


def test_one_server_of_two_seconds_falls_behind_by_a_second_an_arrival() -> None:
    run = simulate(np.arange(10.0), takes(2), fixed(1), batch_size=1)
    assert run.started.tolist() == [2.0 * index for index in range(10)]
    assert run.age.tolist() == [float(index) for index in range(10)]
    assert run.longest_queue() == 5  # at 9 s ten have come and five were begun, at 0, 2, 4, 6 and 8 s


def test_a_backlog_is_taken_in_full_batches_the_oldest_first() -> None:
    run = simulate(np.zeros(25), takes(1), fixed(1), batch_size=10)
    assert run.started.tolist() == [0.0] * 10 + [1.0] * 10 + [2.0] * 5
    assert run.invocations == 3


def test_five_run_at_once_to_begin_with_and_five_more_each_second_while_messages_are_left() -> None:
    run = simulate(np.zeros(1000), takes(1000), Scaling(20), batch_size=1, end=10)
    begun = np.sort(run.started[np.isfinite(run.started)])
    # A backlog is noticed at 0 s; 300 a minute are one each 0.2 s: the sixth at once, the twentieth at 2.8 s.
    assert begun.tolist() == pytest.approx([0.0] * 5 + [0.2 * index for index in range(15)])
    assert run.most_at_once == 20


def test_concurrency_falls_back_to_five_after_a_minute_without_a_backlog() -> None:
    def started_late(pause: float) -> int:
        late = 10 + pause
        arrivals = np.concatenate([np.zeros(100), np.full(100, late)])
        run = simulate(arrivals, takes(1), Scaling(30), batch_size=1)
        return int((run.started[100:] == late).sum())

    assert started_late(10) > 10
    assert started_late(200) <= 6  # five, and the one that a backlog adds at once


def test_only_a_new_environment_starts_cold() -> None:
    run = simulate(np.array([0.0, 5.0, 5.0]), takes(1), fixed(10), batch_size=1, init_seconds=3)
    assert run.cold_starts == 2  # the second at 5 s finds the first environment taken again
    assert run.finished.tolist() == [4.0, 6.0, 9.0]
    assert run.busy_seconds == 3 + 2 * 3


def test_an_environment_that_is_idle_too_long_ends() -> None:
    run = simulate(np.array([0.0, 400.0]), takes(1), Scaling(5, keep=300), batch_size=1, init_seconds=2)
    assert run.cold_starts == 2
    assert simulate(np.array([0.0, 299.0]), takes(1), Scaling(5, keep=300), batch_size=1).cold_starts == 1


def test_waiting_agrees_with_erlangs_formula() -> None:
    """M/M/c: Poisson arrivals, exponential service. Erlang C gives the mean wait (Erlang 1917)."""
    rate, mean, servers = 3.0, 1.0, 4
    chance = np.random.default_rng(5)
    run = simulate(
        constant(rate, 40_000, seed=3), lambda _: float(chance.exponential(mean)), fixed(servers), batch_size=1
    )
    offered = rate * mean
    blocked = offered**servers / math.factorial(servers) * servers / (servers - offered)
    probability = blocked / (sum(offered**k / math.factorial(k) for k in range(servers)) + blocked)
    assert run.age.mean() == pytest.approx(probability * mean / (servers - offered), rel=0.05)


# ---- what must hold whatever comes ------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(arrival_times, st.floats(0.1, 20), st.integers(1, 12), st.integers(1, 10), st.floats(0, 100))
def test_every_arrival_is_finished_or_running_or_waiting(
    arrivals: Times, seconds: float, most: int, batch: int, end: float
) -> None:
    run = simulate(arrivals, takes(seconds, 0.1), Scaling(most), batch, init_seconds=1.5, end=end)
    for time in (0.0, end / 2, end):
        came = int((arrivals <= time).sum())
        done = int((run.finished <= time).sum())
        under_way = int(((run.started <= time) & (run.finished > time)).sum())
        assert came == done + under_way + run.queued(time)


@settings(deadline=None, max_examples=60)
@given(arrival_times, st.floats(0.1, 20), st.integers(1, 12), st.integers(1, 10))
def test_messages_start_after_their_arrival_and_in_order(
    arrivals: Times, seconds: float, most: int, batch: int
) -> None:
    run = simulate(arrivals, takes(seconds), Scaling(most), batch, init_seconds=1.0)
    assert (run.age >= 0).all()
    assert (np.diff(run.started) >= 0).all()
    assert np.isfinite(run.finished).all()


@settings(deadline=None, max_examples=60)
@given(arrival_times, st.floats(0.1, 20), st.integers(1, 12))
def test_no_more_invocations_run_than_allowed(arrivals: Times, seconds: float, most: int) -> None:
    run = simulate(arrivals, takes(seconds), Scaling(most), batch_size=1, init_seconds=1.0)
    at_once = [int(((run.started <= begun) & (run.finished > begun)).sum()) for begun in run.started]
    assert max(at_once) == run.most_at_once <= most


@settings(deadline=None, max_examples=60)
@given(arrival_times, st.floats(0.1, 20), st.integers(1, 12))
def test_more_concurrency_never_lengthens_a_wait(arrivals: Times, seconds: float, most: int) -> None:
    # A theorem for single service in order of arrival (Kiefer and Wolfowitz 1955); with batches or cold starts,
    # which depend on how many come together, it need not hold.
    fewer = simulate(arrivals, takes(seconds), fixed(most), batch_size=1)
    more = simulate(arrivals, takes(seconds), fixed(most + 1), batch_size=1)
    assert (more.started <= fewer.started + 1e-9).all()


@settings(deadline=None, max_examples=60)
@given(arrival_times, st.floats(0.1, 20), st.integers(1, 12), st.integers(1, 10))
def test_littles_law_holds(arrivals: Times, seconds: float, most: int, batch: int) -> None:
    """Mean number waiting = arrivals a second x mean wait, counted from the moments at which the queue changes."""
    run = simulate(arrivals, takes(seconds), Scaling(most), batch)
    end = float(run.finished.max())
    moments = np.unique(np.concatenate([arrivals, run.started, [0.0, end]]))
    waiting = [run.queued(moment) for moment in moments[:-1]]
    mean_waiting = float((np.array(waiting) * np.diff(moments)).sum()) / end
    assert mean_waiting == pytest.approx(len(arrivals) / end * run.age.mean(), abs=1e-6)


# ---- arrivals ---------------------------------------------------------------------------------------------


def test_arrivals_repeat_with_their_seed() -> None:
    assert (constant(50, 100, seed=1) == constant(50, 100, seed=1)).all()
    assert len(constant(50, 100, seed=1)) != len(constant(50, 100, seed=2))


def test_a_constant_rate_yields_the_expected_number() -> None:
    assert len(constant(50, 1000, seed=1)) == pytest.approx(50_000, abs=4 * math.sqrt(50_000))


def test_a_day_starts_quiet_and_peaks_twelve_hours_later() -> None:
    arrivals = daily(2, seed=1)
    by_hour = np.histogram(arrivals, bins=24, range=(0, 86400))[0] / 3600
    assert len(arrivals) == pytest.approx(2 * 86400, rel=0.01)
    # The rate's mean over the first hour: 2 x (1 - 0.8 x sin(x) / x), x = 2 pi / 24.
    quiet = 2 * (1 - 0.8 * math.sin(math.pi / 12) / (math.pi / 12))
    assert by_hour[0] == pytest.approx(quiet, abs=0.05)
    assert by_hour[12] == pytest.approx(4 - quiet, abs=0.15)


def test_a_burst_adds_to_the_constant_rate_at_one_moment() -> None:
    arrivals = burst(1, 500, at=60, seconds=120, seed=1)
    assert (arrivals == 60).sum() == 500
    assert (np.diff(arrivals) >= 0).all()
