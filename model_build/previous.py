"""The model that a build replaces, compared with the new one on the test pictures of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.comparison import compare_pictures
from evaluation.predictions import PREDICTIONS_FILE, Scored, read_csv
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError


@dataclass(frozen=True, slots=True)
class PreviousModel:
    """The replaced model. `outcome` is that of the new one: BETTER, SAME or WORSE (McNemar's test) on the `images` that
    are test pictures of both; or INCOMPARABLE, because of `reason`, without any figures."""

    model_version: str
    outcome: str = "INCOMPARABLE"
    reason: str = ""
    images: int = 0
    correct_before: int = 0
    correct: int = 0
    p_value: float = 1.0

    def __str__(self) -> str:
        if self.reason:
            return f"The model that this one replaces ({self.model_version}) cannot be compared with it: {self.reason}."
        words = {"BETTER": "measurably better", "SAME": "no measurable difference", "WORSE": "measurably worse"}
        return (
            f"On the {self.images:,} test pictures that both have, the model that this one replaces "
            f"({self.model_version}) is right on {self.correct_before:,}, this one on {self.correct:,}: "
            f"{words[self.outcome]} (p = {self.p_value:.2g})."
        )


def compare_with_previous(folder: Path, labels: tuple[str, ...], scored: Sequence[Scored]) -> PreviousModel | None:
    """Compare the model in `folder` with the new one's predictions, by the content of the pictures.

    Each was judged on pictures that it had not seen, so only the test pictures of both count. None without a model.
    """
    if not (folder / MANIFEST_FILE).exists():
        return None
    name = "unreadable"
    try:
        manifest = Manifest.from_file(folder / MANIFEST_FILE)
        name = manifest.model_version
        answers = read_csv((folder / PREDICTIONS_FILE).read_bytes())
    except (ModelError, OSError, ValueError):
        return PreviousModel(name, reason="its manifest or its predictions cannot be read")
    if manifest.labels != labels:
        return PreviousModel(name, reason="it has other labels")
    comparison = compare_pictures("the previous model", name, answers, scored)
    if comparison is None:
        return PreviousModel(name, reason="they have no test picture in common")
    return PreviousModel(
        name,
        comparison.outcome,
        images=comparison.pictures_now,
        correct_before=comparison.correct_before,
        correct=comparison.correct_now,
        p_value=round(comparison.p_value, 4),
    )
