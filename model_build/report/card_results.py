"""The model card, first half: what went in, and what came out on the test pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.charts import confusion_table, reliability_diagram
from evaluation.metrics import ReliabilityBin
from evaluation.page import Html, card, element
from model_build.report.card_parts import Report, columns, interval, note, section, table

MISTAKES_SHOWN = 24
"""Pictures of mistakes on the page, the most confident ones; report.json lists all."""

LABELS_IN_MATRIX = 20
"""With more labels the confusion matrix is as wide as a wall; the most frequent confusions are listed instead."""

CONFUSIONS_LISTED = 30


def data(report: Report) -> Html:
    """What the model was made from and tested on."""
    images = report["images"]
    splits = list(images)
    rows = [(label, *(str(images[split][label]) for split in splits)) for label in report["labels"]]
    rows.append(("all", *(str(sum(images[split].values())) for split in splits)))
    made = (
        "Split by the content of the pictures, half to train, a quarter each to validate and to test."
        if report["split_by_content"]
        else "Split by whoever made the data set."
    )
    left_out = {**report["unreadable"], **report["left_out"]}
    listed = ""
    if left_out:
        entries = list(left_out.items())
        listed = element(
            "details",
            element("summary", f"{len(left_out)} files left out"),
            table(("file", "why"), entries, whole=False),
        )
    return section(
        "Data",
        table(("pictures", *splits), rows),
        note(made),
        note("SHA-256 of names, labels and contents: ", element("code", report["data_sha256"])),
        listed or note("Every file could be read."),
    )


def classes(report: Report) -> Html:
    """Accuracy by label."""
    rows = [
        (label, f"{scores['accuracy']:.1%}", interval(scores), f"{scores['correct']} of {scores['images']}")
        for label, scores in report["classes"].items()
    ]
    return section(
        "By label",
        table(("test pictures of", "right", "95 % interval", "count"), rows),
        note("The interval (Wilson) says where the accuracy on all such pictures may lie: the fewer, the wider."),
    )


def confusion(report: Report) -> Html:
    """Which label is taken for which."""
    matrix, labels = np.array(report["confusion"]), report["labels"]
    if len(labels) <= LABELS_IN_MATRIX:
        return section("What is taken for what", confusion_table(matrix, labels))
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS_LISTED]
    pairs = [divmod(int(index), len(labels)) for index in order]
    rows = [(labels[true], labels[given], str(wrong[true, given])) for true, given in pairs if wrong[true, given]]
    return section("What is taken for what", table(("is", "was given", "pictures"), rows))


def calibration(report: Report) -> Html:
    """What a confidence means."""
    calibration = report["calibration"]
    threshold, test = calibration["threshold"], calibration["test"]
    rows = []
    for split in ("validation", "test"):
        for when in ("before", "after"):
            found = calibration[split][when]
            values = (f"{found['ece']:.2%}", f"{found['log_loss']:.4f}", f"{found['brier']:.4f}")
            rows.append((f"{split}, {when}", *values))
    labelled = test["labelled"]
    right = f", and {labelled['accuracy']:.1%} of the labels are right" if labelled["images"] else ""
    return section(
        "What its confidence means",
        note(
            f"Logits are divided by the temperature {calibration['temperature']:.3f}. With a confidence under "
            f"{threshold['value']:.4f} no label is given: the picture is UNSURE. That was chosen on validation, so "
            f"that {threshold['precision']:.0%} of the labels given are right. On test {1 - labelled['share']:.1%} get "
            f"none{right}."
        ),
        columns(
            element("div", element("h3", "Test, before calibration"), reliability_diagram(_bins(test["before"]))),
            element("div", element("h3", "Test, as shipped"), reliability_diagram(_bins(test["after"]))),
        ),
        table(("", "calibration error", "log loss", "Brier score"), rows),
        note(calibration["caution"]),
    )


def mistakes(report: Report, pictures: Mapping[str, str]) -> Html:
    """The test pictures that get a wrong label."""
    mistakes = report["mistakes"]
    if not mistakes:
        return section("Mistakes", note("None on the test pictures."))
    shown = [each for each in mistakes if each["path"] in pictures][:MISTAKES_SHOWN]
    cards = [
        card(
            "other" if each["unsure"] else "bad",
            pictures[each["path"]],
            "UNSURE" if each["unsure"] else each["predicted"],
            f"{each['confidence']:.1%}",
            f"it is {each['true']}" + (f"; {each['predicted']} kept back" if each["unsure"] else ""),
            each["path"],
        )
        for each in shown
    ]
    kept_back = sum(each["unsure"] for each in mistakes)
    return section(
        "Mistakes",
        note(
            f"{len(mistakes)} of the test pictures, {kept_back} of them kept back as UNSURE. "
            + (
                f"The {len(shown)} most confident; report.json lists all."
                if len(shown) < len(mistakes)
                else "All of them:"
            )
        ),
        element("ul", cards, class_="cards"),
    )


def int8(report: Report) -> Html:
    """What quantisation cost."""
    rows = [
        (f"{split}, {what}", f"{found['accuracy']:.1%}", interval(found), f"{found['correct']} of {found['images']}")
        for split, scores in report["accuracy"].items()
        for kind, what in (("int8", "INT8"), ("fp32", "FP32 on some"), ("int8_on_fp32_images", "INT8 on those"))
        if (found := scores.get(kind))
    ]
    return section(
        "INT8 against FP32",
        table(("", "right", "95 % interval", "count"), rows),
        note(
            "FP32 is slow, so it gets as many pictures as the build can afford. The finished INT8 graph and the Keras "
            f"head differ by at most {report['largest_difference_to_keras']:.1e} in a probability."
        ),
    )


def _bins(found: Mapping[str, Any]) -> list[ReliabilityBin]:
    """The reliability curve as it was before report.json, which has null for NaN."""
    return [
        ReliabilityBin(each["low"], each["high"], each["count"], _known(each["confidence"]), _known(each["accuracy"]))
        for each in found["bins"]
    ]


def _known(value: float | None) -> float:
    return math.nan if value is None else value
