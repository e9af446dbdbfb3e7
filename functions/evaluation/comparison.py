"""Tonight's answers compared with earlier ones: what changed, and whether the change is significant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from evaluation.metrics import mcnemar_test, two_proportion_test
from evaluation.predictions import Identity, Scored

SIGNIFICANT = 0.05
"""Significance level: a difference with a smaller p-value counts."""

MAX_FLIPS = 200
"""Flips that a report lists, newly wrong ones first; all are counted."""


class Outcome(StrEnum):
    """How the accuracy moved."""

    BETTER = "BETTER"
    SAME = "SAME"  # no significant difference
    WORSE = "WORSE"


@dataclass(frozen=True, slots=True)
class Flip:
    """A picture that got another label than before."""

    key: str
    true: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tonight compared with `against`."""

    against: str  # in words: "the night of 2026-11-23", "its own build"
    model_version: str  # the model of `against`
    same_pictures: bool  # compared picture by picture (McNemar's test); else by counts alone (Fisher's)
    pictures_before: int
    correct_before: int
    pictures_now: int
    correct_now: int
    newly_right: int | None  # None if only counts are known
    newly_wrong: int | None
    p_value: float  # probability of a difference this large if both were equally good
    flips: tuple[Flip, ...] = ()
    flipped: int | None = None  # all flips, those between two wrong labels included
    other_pictures: bool = False  # no picture in common: a difference may be due to the pictures, not to the model

    @property
    def outcome(self) -> Outcome:
        """BETTER or WORSE only if the difference is significant."""
        before, now = self.correct_before * self.pictures_now, self.correct_now * self.pictures_before
        if self.p_value >= SIGNIFICANT or before == now:
            return Outcome.SAME
        return Outcome.BETTER if now > before else Outcome.WORSE


@dataclass(frozen=True, slots=True)
class Reference:
    """Earlier results that tonight is compared with."""

    name: str  # Comparison.against
    model_version: str
    correct: int
    pictures: int
    answers: Mapping[Identity, str]  # predicted labels; empty if unknown


def compare(reference: Reference | None, scored: Sequence[Scored]) -> Comparison | None:
    """Picture by picture if both sides have a picture in common, else by counts.

    None if there is no reference, or either side has no pictures.
    """
    if reference is None:
        return None
    name, version, answers = reference.name, reference.model_version, reference.answers
    return compare_pictures(name, version, answers, scored) or compare_counts(
        name, version, reference.correct, reference.pictures, scored, other_pictures=bool(answers)
    )


def compare_pictures(
    against: str, model_version: str, answers: Mapping[Identity, str], scored: Sequence[Scored]
) -> Comparison | None:
    """Picture by picture, over the pictures that both sides have. None if there are none.

    `answers` has the earlier predicted labels.
    """
    common = [(now, answers[now.identity]) for now in scored if now.identity in answers]
    if not common:
        return None
    newly_right = sum(now.right and before != now.true for now, before in common)
    newly_wrong = sum(not now.right and before == now.true for now, before in common)
    flips = [
        Flip(now.key, now.true, before, now.prediction.label)
        for now, before in common
        if before != now.prediction.label
    ]
    flips.sort(key=lambda flip: (flip.before != flip.true, flip.now != flip.true, flip.key))
    return Comparison(
        against=against,
        model_version=model_version,
        same_pictures=True,
        pictures_before=len(common),
        correct_before=sum(before == now.true for now, before in common),
        pictures_now=len(common),
        correct_now=sum(now.right for now, _ in common),
        newly_right=newly_right,
        newly_wrong=newly_wrong,
        p_value=mcnemar_test(newly_wrong, newly_right),
        flips=tuple(flips[:MAX_FLIPS]),
        flipped=len(flips),
    )


def compare_counts(
    against: str,
    model_version: str,
    correct_before: int,
    pictures_before: int,
    scored: Sequence[Scored],
    other_pictures: bool = False,
) -> Comparison | None:
    """By the two accuracies alone, for when the earlier answers are unknown or for `other_pictures`.

    None if either side has no pictures.
    """
    if not scored or not pictures_before:
        return None
    correct = sum(now.right for now in scored)
    return Comparison(
        against=against,
        model_version=model_version,
        same_pictures=False,
        pictures_before=pictures_before,
        correct_before=correct_before,
        pictures_now=len(scored),
        correct_now=correct,
        newly_right=None,
        newly_wrong=None,
        p_value=two_proportion_test(correct_before, pictures_before, correct, len(scored)),
        other_pictures=other_pictures,
    )
