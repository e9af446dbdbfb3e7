"""Tonight against another time: what changed, and whether it is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from evaluation.metrics import mcnemar_test, two_proportion_test
from evaluation.predictions import Identity, Scored

SIGNIFICANT = 0.05
"""A difference that chance brings less often than once in twenty is taken for one."""

MAX_FLIPS = 200
"""Flips that a report keeps, the newly wrong ones first; all are counted."""


class Outcome(StrEnum):
    """How a figure moved, as far as the pictures can tell."""

    BETTER = "BETTER"
    SAME = "SAME"
    WORSE = "WORSE"


@dataclass(frozen=True, slots=True)
class Flip:
    """A picture that was given another label than before."""

    key: str
    true: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Tonight against `against`."""

    against: str  # in words: "2026-11-23", "the build"
    model_version: str  # of the other
    same_pictures: bool  # picture by picture (McNemar's test); else by the two shares alone (Fisher's)
    pictures_before: int
    correct_before: int
    pictures_now: int
    correct_now: int
    newly_right: int | None  # None where only the shares are known
    newly_wrong: int | None
    p_value: float  # probability of at least this difference if nothing had changed
    flips: tuple[Flip, ...] = ()
    flipped: int | None = None  # all of them, those between two wrong labels included
    other_pictures: bool = (
        False  # the two have no picture in common: a difference may be the pictures', not the model's
    )

    @property
    def outcome(self) -> Outcome:
        """Better or worse only where chance is an unlikely explanation."""
        before, now = self.correct_before * self.pictures_now, self.correct_now * self.pictures_before
        if self.p_value >= SIGNIFICANT or before == now:
            return Outcome.SAME
        return Outcome.BETTER if now > before else Outcome.WORSE


def compare_pictures(
    against: str, model_version: str, before: Mapping[Identity, str], scored: Sequence[Scored]
) -> Comparison | None:
    """Picture by picture, over those that both know. `before` holds predicted labels. None if there are none."""
    common = [(each, before[each.identity]) for each in scored if each.identity in before]
    if not common:
        return None
    newly_right = sum(each.right and label != each.true for each, label in common)
    newly_wrong = sum(not each.right and label == each.true for each, label in common)
    flips = [
        Flip(each.key, each.true, label, each.prediction.label)
        for each, label in common
        if label != each.prediction.label
    ]
    flips.sort(key=lambda flip: (flip.before != flip.true, flip.now != flip.true, flip.key))
    return Comparison(
        against=against,
        model_version=model_version,
        same_pictures=True,
        pictures_before=len(common),
        correct_before=sum(label == each.true for each, label in common),
        pictures_now=len(common),
        correct_now=sum(each.right for each, _ in common),
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
    """By the two shares alone, where the single answers of `against` are not known or are about `other_pictures`.

    None if either has no pictures.
    """
    if not scored or not pictures_before:
        return None
    correct = sum(each.right for each in scored)
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
