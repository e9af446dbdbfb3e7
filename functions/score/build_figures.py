"""What the model build itself found on its test pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.predictions import PREDICTIONS_FILE, Identity, read_csv
from labeller.manifest import MANIFEST_FILE, Manifest
from labeller.observability import logger


@dataclass(frozen=True, slots=True)
class BuildFigures:
    """The INT8 model's own accuracy on the build's test pictures."""

    correct: int
    pictures: int
    answers: Mapping[Identity, str] = field(default_factory=dict)  # its label for each of them, where they are known


def read_build_figures(model_dir: Path) -> BuildFigures | None:
    """From manifest.json, and predictions.csv if it lies beside it; None where the manifest does not tell.

    A model made elsewhere may have neither: then there is one comparison less. Raises ModelError.
    """
    build = Manifest.from_file(model_dir / MANIFEST_FILE).build
    try:
        found = build["accuracy"]["test"]["int8"]
        correct, pictures = int(found["correct"]), int(found["images"])
    except (KeyError, TypeError, ValueError):
        return None
    path = model_dir / PREDICTIONS_FILE
    try:
        answers = read_csv(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        logger.warning("the build's answers cannot be read", file=str(path), error=str(error))
        answers = {}
    return BuildFigures(correct, pictures, answers)
