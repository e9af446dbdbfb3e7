"""The accuracy that the model build measured on its own test pictures."""

from pathlib import Path

from evaluation.comparison import Reference
from evaluation.predictions import PREDICTIONS_FILE, read_csv
from labeller.manifest import MANIFEST_FILE, Manifest
from labeller.observability import logger


def read_build_figures(model_dir: Path) -> Reference | None:
    """The predictions.csv beside manifest.json, or the figures in the manifest of a model from elsewhere.

    None without both; the report then has one comparison less. Raises ModelError.
    """
    manifest = Manifest.from_file(model_dir / MANIFEST_FILE)
    path = model_dir / PREDICTIONS_FILE
    try:
        rows = read_csv(path.read_bytes()) if path.is_file() else {}
        answers = {identity: label for identity, label in rows.items() if identity[0] in manifest.labels}
    except ValueError as error:
        logger.warning("the build's predictions cannot be read", file=str(path), error=str(error))
        answers = {}
    correct, pictures = sum(true == predicted for (true, _), predicted in answers.items()), len(answers)
    if not answers:
        try:
            figures = manifest.build["accuracy"]["test"]["int8"]
            correct, pictures = int(figures["correct"]), int(figures["images"])
        except (KeyError, TypeError, ValueError):
            return None
    return Reference("its own build", manifest.model_version, correct, pictures, answers)
