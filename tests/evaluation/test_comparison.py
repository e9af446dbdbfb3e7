import pytest
from scipy import stats

from evaluation.comparison import Outcome, compare_counts, compare_pictures
from evaluation.predictions import Scored
from tests.evaluation.test_predictions import scored


def pictures(right: int, wrong: int, first: int = 0) -> list[Scored]:
    """Pictures of cats that are told from each other by their number."""
    return [
        scored(f"cats/{n}", "cats", "cats" if n < first + right else "dogs", str(n))
        for n in range(first, first + right + wrong)
    ]


def answers(scored_before: list[Scored]) -> dict[tuple[str, str], str]:
    return {each.identity: each.prediction.label for each in scored_before}


def test_the_same_answers_are_the_same() -> None:
    now = pictures(8, 2)
    found = compare_pictures("last night", "m", answers(now), now)
    assert found is not None
    assert (found.outcome, found.p_value, found.flipped, found.flips) == (Outcome.SAME, 1, 0, ())


def test_ten_newly_wrong_of_a_hundred_are_no_chance() -> None:
    found = compare_pictures("last night", "m", answers(pictures(100, 0)), pictures(90, 10))
    assert found is not None
    assert (found.newly_right, found.newly_wrong, found.flipped) == (0, 10, 10)
    assert found.p_value == pytest.approx(2 / 2**10)  # twice the chance of ten heads in a row
    assert found.outcome is Outcome.WORSE
    assert (found.correct_before, found.correct_now) == (100, 90)


def test_three_newly_wrong_may_be_chance() -> None:
    found = compare_pictures("last night", "m", answers(pictures(100, 0)), pictures(97, 3))
    assert found is not None
    assert found.p_value == 0.25
    assert found.outcome is Outcome.SAME


def test_newly_right_ones_count_for_the_model() -> None:
    found = compare_pictures("last night", "m", answers(pictures(90, 10)), pictures(100, 0))
    assert found is not None
    assert found.outcome is Outcome.BETTER


def test_the_same_picture_under_another_name_is_the_same_picture() -> None:
    before = {("cats", "1"): "dogs"}
    found = compare_pictures("last night", "m", before, [scored("cats/renamed", "cats", "cats", "1")])
    assert found is not None
    assert [(flip.key, flip.before, flip.now) for flip in found.flips] == [("cats/renamed", "dogs", "cats")]


def test_only_pictures_that_both_know_are_compared() -> None:
    found = compare_pictures("last night", "m", answers(pictures(5, 0)), pictures(5, 5, first=3))
    assert found is not None
    assert found.pictures_now == found.pictures_before == 2


def test_a_test_set_that_is_new_as_a_whole_cannot_be_compared_by_pictures() -> None:
    assert compare_pictures("last night", "m", answers(pictures(5, 0)), pictures(5, 0, first=100)) is None


def test_flips_begin_with_what_is_newly_wrong_and_are_bounded() -> None:
    before = answers(pictures(300, 100))
    now = [scored(f"cats/{n}", "cats", "dogs" if n < 300 else "cats", str(n)) for n in range(400)]
    found = compare_pictures("last night", "m", before, now)
    assert found is not None
    assert (found.flipped, len(found.flips)) == (400, 200)
    assert {flip.now for flip in found.flips} == {"dogs"}


def test_by_counts_the_same_drop_must_be_larger_to_be_believed() -> None:
    few = compare_counts("the build", "m", 98, 100, pictures(93, 7))
    many = compare_counts("the build", "m", 980, 1000, pictures(930, 70))
    assert few is not None
    assert many is not None
    assert few.p_value == pytest.approx(stats.fisher_exact([[98, 2], [93, 7]]).pvalue)
    assert (few.outcome, many.outcome) == (Outcome.SAME, Outcome.WORSE)
    assert (few.newly_wrong, few.flipped) == (None, None)


def test_nothing_is_compared_with_nothing() -> None:
    assert compare_counts("the build", "m", 0, 0, pictures(1, 0)) is None
    assert compare_counts("the build", "m", 1, 1, []) is None
