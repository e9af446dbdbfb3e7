"""The model card, index.html: templates/card.html filled in from the build report."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from evaluation.charts import confusion_table, frequent_confusions, reliability_diagram
from evaluation.class_activation import ClassActivation, Shade
from evaluation.pages import render
from labeller.manifest import MODEL_FILE, ModelError, read_file
from labeller.text import printable
from model_build.data import reader
from model_build.data.dataset import Dataset
from model_build.report.figures import LABELS_IN_MATRIX, TEMPLATES, confusion_chart, roc_chart, tradeoff_chart
from model_build.report.report import ACCURACY_ROWS, BuildReport
from model_build.report.summary import AT_BOUND, WORSE_NETWORK
from model_build.selection import LARGEST_LOSS
from model_build.suspects import Suspect

SUSPECTS_SHOWN = MISTAKES_SHOWN = 24
"""Mistakes with their pictures, the most confident ones; report.json lists all."""

CONFUSIONS_LISTED = 30

STRANGEST_SHOWN = 12
"""Training and validation pictures with the lowest familiarity; report.json lists more."""

WEIGHTS_WARNINGS = {
    "file": "The base's weights come from a file and not from Keras' ImageNet weights. All figures are for that file.",
    "random": "The base has random weights. This model only shows that the pipeline works; do not use it otherwise.",
}


def card_page(
    report: BuildReport,
    pictures: Mapping[str, str],
    suspects: Sequence[Suspect] = (),
    shades: Mapping[str, Shade] = MappingProxyType({}),
) -> str:
    """The text of index.html. By path: `pictures`, data URIs of those that are shown, and `shades`, what is laid over a
    mistake to show why."""
    matrix, few_labels = np.array(report.confusion), len(report.labels) <= LABELS_IN_MATRIX
    yardstick, calibration = report.head.yardstick, report.calibration.test
    lead = yardstick.head_correct - yardstick.correct
    return render(
        "card.html",
        TEMPLATES,
        report=report,
        accuracy_rows=ACCURACY_ROWS,
        warnings=_warnings(report),
        lead=f"{lead:+d} pictures" if lead else "equal",
        confusion_table=confusion_table(matrix, report.labels) if few_labels else None,
        confusion_chart=None if few_labels else confusion_chart(report),
        confusions=frequent_confusions(matrix, report.labels, CONFUSIONS_LISTED),
        reliability_before=reliability_diagram(calibration.before.bins),
        reliability_after=reliability_diagram(calibration.after.bins),
        mistakes=[mistake for mistake in report.mistakes if mistake.path in pictures][:MISTAKES_SHOWN],
        suspects=[(each, pictures.get(printable(each.path), "")) for each in suspects[:SUSPECTS_SHOWN]],
        all_suspects=len(suspects),
        unlabelled_mistakes=sum(mistake.unsure or mistake.unknown for mistake in report.mistakes),
        strangest=[one for one in report.familiarity.strangest if one.path in pictures][:STRANGEST_SHOWN],
        roc_chart=roc_chart(report.familiarity),
        pictures=pictures,
        shades=shades,
        tradeoff_chart=tradeoff_chart(report.search) if report.search else None,
        infinity=math.inf,
        largest_loss=LARGEST_LOSS,
        settings=[(name, value) for name, value in report.settings.items() if not isinstance(value, list | tuple)],
        command=_command(report),
    )


def thumbnails(report: BuildReport, data: Dataset, image_size: int, suspects: Sequence[Suspect]) -> dict[str, str]:
    """Data URIs of the pictures that the card shows, by path."""
    names = {mistake.path for mistake in report.mistakes[:MISTAKES_SHOWN]}
    names |= {picture.path for picture in report.familiarity.strangest[:STRANGEST_SHOWN]}
    names |= {printable(suspect.path) for suspect in suspects[:SUSPECTS_SHOWN]}
    shown = [example for split in data.splits.values() for example in split if data.name(example) in names]
    return {data.name(example): uri for example, uri in reader.thumbnails(shown, image_size).items()}


def shades(report: BuildReport, data: Dataset, image_size: int, model: Path) -> dict[str, Shade]:
    """By path, what is laid over each mistake that the card shows: dark where nothing speaks for the predicted label.
    None if the head of the model in the folder is not linear."""
    path = model / MODEL_FILE
    try:
        activation = ClassActivation.of(read_file(path), path, reader.CORES)
    except ModelError:
        return {}
    predicted = {mistake.path: data.labels.index(mistake.predicted) for mistake in report.mistakes[:MISTAKES_SHOWN]}
    found = {}
    for example in data.splits["test"]:
        if (name := data.name(example)) in predicted:
            decoded = reader.read(example, image_size)
            found[name] = activation.shade(decoded.pixels, predicted[name], decoded.width, decoded.height)
    return found


def _warnings(report: BuildReport) -> list[str]:
    threshold = report.calibration.threshold
    warnings = [WEIGHTS_WARNINGS[report.weights]] if report.weights in WEIGHTS_WARNINGS else []
    if report.calibration.at_bound:
        warnings.append(AT_BOUND)
    if report.previous and report.previous.outcome == "WORSE":
        warnings.append(str(report.previous))
    if report.asked_for_a_worse_network:
        warnings.append(WORSE_NETWORK)
    if not threshold.reached:
        warnings.append(
            f"No confidence threshold makes {threshold.precision:.0%} of the labelled pictures right in "
            "cross-validation: the most confident predictions are wrong too often."
        )
    return warnings


def _command(report: BuildReport) -> str:
    """The make command that builds this model."""
    weights = "FILE" if report.weights == "file" else report.weights
    size = "auto" if report.settings["auto_size"] else report.settings["image_size"]
    speedup = report.settings["speedup"]
    compress = "auto" if report.settings["auto_speedup"] else "none" if speedup == 1 else f"{speedup:g}"
    return f"make model DATA=FOLDER WEIGHTS={weights} IMAGE_SIZE={size} COMPRESS={compress}"
