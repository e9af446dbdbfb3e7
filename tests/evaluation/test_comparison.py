import pytest
from scipy import stats

from evaluation.comparison import Comparison, Outcome, Reference, compare, compare_counts, compare_pictures
from evaluation.predictions import Scored
from tests.evaluation.test_predictions import scored


def pictures(right: int, wrong: int, first: int = 0) -> list[Scored]:
    """Pictures of cats, numbered from `first`; the right answers come first."""
    return [
        scored(f"cats/{n}", "cats", "cats" if n < first + right else "dogs", str(n))
        for n in range(first, first + right + wrong)
    ]


def answers(scored_before: list[Scored]) -> dict[tuple[str, str], str]:
    return {answer.identity: answer.prediction.label for answer in scored_before}


def test_equal_answers_are_no_difference() -> None:
    now = pictures(8, 2)
    comparison = compare_pictures("last night", "m", answers(now), now)
    assert comparison is not None
    assert (comparison.outcome, comparison.p_value, comparison.flipped, comparison.flips) == (Outcome.SAME, 1, 0, ())


def test_ten_newly_wrong_of_a_hundred_are_significant() -> None:
    comparison = compare_pictures("last night", "m", answers(pictures(100, 0)), pictures(90, 10))
    assert comparison is not None
    assert (comparison.newly_right, comparison.newly_wrong, comparison.flipped) == (0, 10, 10)
    assert comparison.p_value == pytest.approx(2 / 2**10)  # twice the probability of ten heads in a row
    assert comparison.outcome is Outcome.WORSE
    assert (comparison.correct_before, comparison.correct_now) == (100, 90)


@pytest.mark.parametrize(("wrong", "outcome"), [(5, Outcome.SAME), (6, Outcome.WORSE)])
def test_a_difference_counts_if_its_probability_is_below_five_percent(wrong: int, outcome: Outcome) -> None:
    comparison = compare_pictures("last night", "m", answers(pictures(100, 0)), pictures(100 - wrong, wrong))
    assert comparison is not None
    assert comparison.p_value == 2 / 2**wrong  # 6.25% for five heads in a row, 3.1% for six
    assert comparison.outcome is outcome


@pytest.mark.parametrize(("p_value", "outcome"), [(0.0499, Outcome.WORSE), (0.05, Outcome.SAME)])
def test_only_a_p_value_below_5_percent_is_significant(p_value: float, outcome: Outcome) -> None:
    # docs/report.schema.json: "WORSE or BETTER only if p_value is below 0.05"
    assert Comparison("last night", "m", True, 100, 90, 100, 80, 0, 10, p_value).outcome is outcome


def test_ten_newly_right_are_better() -> None:
    comparison = compare_pictures("last night", "m", answers(pictures(90, 10)), pictures(100, 0))
    assert comparison is not None
    assert comparison.outcome is Outcome.BETTER


def test_a_renamed_picture_is_the_same_picture() -> None:
    before = {("cats", "1"): "dogs"}
    comparison = compare_pictures("last night", "m", before, [scored("cats/renamed", "cats", "cats", "1")])
    assert comparison is not None
    assert [(flip.key, flip.before, flip.now) for flip in comparison.flips] == [("cats/renamed", "dogs", "cats")]


def test_only_common_pictures_are_compared() -> None:
    comparison = compare_pictures("last night", "m", answers(pictures(5, 0)), pictures(5, 5, first=3))
    assert comparison is not None
    assert comparison.pictures_now == comparison.pictures_before == 2


def test_without_common_pictures_there_is_no_comparison_by_pictures() -> None:
    assert compare_pictures("last night", "m", answers(pictures(5, 0)), pictures(5, 0, first=100)) is None


def test_flips_begin_with_the_newly_wrong_ones_and_are_limited() -> None:
    # By number: 150 newly right, 100 from wrong to wrong, 150 newly wrong.
    before = {("cats", str(n)): "cats" if n >= 250 else "dogs" for n in range(400)}
    labels = ["cats"] * 150 + ["foxes"] * 100 + ["dogs"] * 150
    now = [scored(f"cats/{n:03}", "cats", label, str(n)) for n, label in enumerate(labels)]
    comparison = compare_pictures("last night", "m", before, now)
    assert comparison is not None
    assert (comparison.flipped, len(comparison.flips)) == (400, 200)
    assert [flip.key for flip in comparison.flips[:150]] == [f"cats/{n}" for n in range(250, 400)]
    assert {(flip.before, flip.now) for flip in comparison.flips[:150]} == {("cats", "dogs")}
    assert [flip.key for flip in comparison.flips[150:]] == [f"cats/{n:03}" for n in range(50)]


def test_counts_alone_are_compared_with_fishers_test() -> None:
    few = compare_counts("the build", "m", 98, 100, pictures(93, 7))
    many = compare_counts("the build", "m", 980, 1000, pictures(930, 70))
    assert few is not None
    assert many is not None
    assert few.p_value == pytest.approx(stats.fisher_exact([[98, 2], [93, 7]]).pvalue)
    assert (few.outcome, many.outcome) == (Outcome.SAME, Outcome.WORSE)
    assert (few.newly_wrong, few.flipped) == (None, None)


def test_no_pictures_on_one_side_give_no_comparison() -> None:
    assert compare_counts("the build", "m", 0, 0, pictures(1, 0)) is None
    assert compare_counts("the build", "m", 1, 1, []) is None


def test_without_common_pictures_the_counts_are_compared() -> None:
    earlier = answers(pictures(5, 0))
    other = compare(Reference("last night", "m", 5, 5, earlier), pictures(5, 0, first=100))
    unknown = compare(Reference("last night", "m", 5, 5, {}), pictures(5, 0))
    common = compare(Reference("last night", "m", 5, 5, earlier), pictures(5, 0))
    assert other is not None
    assert unknown is not None
    assert common is not None
    assert (other.same_pictures, other.other_pictures) == (False, True)
    assert (unknown.same_pictures, unknown.other_pictures) == (False, False)
    assert common.same_pictures
