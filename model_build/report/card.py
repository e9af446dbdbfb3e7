"""The model card, index.html: what a person wants to know of a model before they trust it, from report.json alone.

One self-contained page of `evaluation.page`: no script, nothing loaded, every name from outside escaped.

card_results   what went in, and what came out on the test pictures
card_choices   how it was decided, what it took, how to make it again
card_parts     sections, tables, figures as text
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.page import Html, element, figures, page
from model_build.report import card_choices, card_results
from model_build.report.card_parts import Report, columns, interval, megabytes, section
from model_build.report.card_results import MISTAKES_SHOWN

__all__ = ["MISTAKES_SHOWN", "render"]

WARNINGS = {
    "file": "The base has weights from a file, not ImageNet's as Keras has them: its figures are those of that file.",
    "random": "The base has random weights: this model shows that the path works, and is good for nothing else.",
}
"""By the report's `weights`; those of ImageNet are what this project is about."""


def render(report: Report, pictures: Mapping[str, str]) -> str:
    """The text of the page. `pictures` has a data URI by the path of each mistake that is to be shown."""
    return page(
        f"Model {report['model_version']}",
        _header(report),
        _verdict(report),
        columns(card_results.data(report), card_results.classes(report)),
        card_results.confusion(report),
        card_results.calibration(report),
        card_results.mistakes(report, pictures),
        card_results.int8(report),
        card_choices.head(report),
        card_choices.quantisation(report),
        card_choices.compression(report),
        columns(card_choices.costs(report), card_choices.origin(report)),
    )


def _header(report: Report) -> Html:
    labels, test = report["labels"], report["accuracy"]["test"]["int8"]
    shown = ", ".join(labels) if len(labels) <= 8 else f"{', '.join(labels[:8])} and {len(labels) - 8} more"
    threshold = report["calibration"]["threshold"]
    warnings = [WARNINGS[report["weights"]]] if report["weights"] in WARNINGS else []
    if not threshold["reached"]:
        warnings.append(
            f"No confidence threshold makes {threshold['precision']:.0%} of what is labelled right on validation: the "
            "most confident labels are wrong too often."
        )
    return element(
        "header",
        element("h1", f"{test['accuracy']:.1%} right on {test['images']} pictures it has never seen"),
        element("p", f"Model {report['model_version']} tells {len(labels)} labels apart: {shown}."),
        [element("p", element("span", "WARNING", class_="badge tone-bad"), " ", text) for text in warnings],
    )


def _verdict(report: Report) -> Html:
    test, sizes = report["accuracy"]["test"], report["bytes"]
    same, calibrated = test["int8_on_fp32_images"], report["calibration"]["test"]
    labelled = calibrated["labelled"]
    baseline = report["head"]["baseline"]["test"]
    lead = baseline["head_correct"] - baseline["correct"]
    return section(
        "On the test pictures",
        figures(
            ("right, as shipped (INT8)", f"{test['int8']['accuracy']:.1%}", _counted(test["int8"])),
            (
                "INT8 against FP32, same pictures",
                f"{100 * (same['correct'] - test['fp32']['correct']) / same['images']:+.1f} points",
                f"{same['correct']} right against {test['fp32']['correct']} of {same['images']}",
            ),
            (
                "labelled at all",
                f"{labelled['share']:.1%}",
                f"the rest is UNSURE; right: {_counted(labelled) if labelled['images'] else 'none was labelled'}",
            ),
            (
                "calibration error",
                f"{calibrated['after']['ece']:.1%}",
                f"how far confidence is from being right; {calibrated['before']['ece']:.1%} before calibration",
            ),
            (
                "against logistic regression",
                f"{lead:+d} pictures" if lead else "equal",
                f"{baseline['head_correct']} right against {baseline['correct']} of {baseline['images']}, same "
                f"features; p = {baseline['p_value']:.2f}",
            ),
            ("model.onnx", megabytes(sizes["model.onnx"]), f"{megabytes(sizes['same_graph_fp32'])} in FP32"),
        ),
    )


def _counted(scores: Mapping[str, Any]) -> str:
    return f"{scores['correct']} of {scores['images']}; 95 % interval {interval(scores)}"
