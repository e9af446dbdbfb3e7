"""The accuracy that the model build measured on its own test pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.predictions import PREDICTIONS_FILE, Identity, read_csv
from labeller.manifest import MANIFEST_FILE, Manifest
from labeller.observability import logger


@dataclass(frozen=True, slots=True)
class BuildFigures:
    """The INT8 model on the build's test pictures."""

    correct: int
    pictures: int
    answers: Mapping[Identity, str] = field(default_factory=dict)  # predicted labels; empty if unknown


def read_build_figures(model_dir: Path) -> BuildFigures | None:
    """From manifest.json and the predictions.csv beside it. None if the manifest has no such figures.

    A model from elsewhere may have neither; the report then has one comparison less. Raises ModelError.
    """
    build = Manifest.from_file(model_dir / MANIFEST_FILE).build
    try:
        figures = build["accuracy"]["test"]["int8"]
        correct, pictures = int(figures["correct"]), int(figures["images"])
    except (KeyError, TypeError, ValueError):
        return None
    path = model_dir / PREDICTIONS_FILE
    try:
        answers = read_csv(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        logger.warning("the build's predictions cannot be read", file=str(path), error=str(error))
        answers = {}
    return BuildFigures(correct, pictures, answers)
