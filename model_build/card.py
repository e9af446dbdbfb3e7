"""The model card, index.html: what a person wants to know of a model before they trust it, from report.json alone.

One self-contained page of `labeller.page`: no script, nothing loaded, every name from outside escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from labeller.charts import Series, confusion_table, line_chart, reliability_diagram
from labeller.page import Content, Html, card, element, figures, joined, page
from labeller.scoring import ReliabilityBin

MISTAKES_SHOWN = 24
"""Pictures of mistakes on the page, the most confident ones; report.json lists all."""

LABELS_IN_MATRIX = 20
"""With more labels the confusion matrix is as wide as a wall; the most frequent confusions are listed instead."""

CONFUSIONS_LISTED = 30

WARNINGS = {
    "file": "The base has weights from a file, not ImageNet's as Keras has them: its figures are those of that file.",
    "random": "The base has random weights: this model shows that the path works, and is good for nothing else.",
}
"""By the report's `weights`; those of ImageNet are what this project is about."""

Report = Mapping[str, Any]


def render(report: Report, pictures: Mapping[str, str]) -> str:
    """The text of the page. `pictures` has a data URI by the path of each mistake that is to be shown."""
    return page(
        f"Model {report['model_version']}",
        _header(report),
        _verdict(report),
        element("div", _data(report), _classes(report), class_="columns"),
        _confusion(report),
        _calibration(report),
        _mistakes(report, pictures),
        _int8(report),
        _head(report),
        _quantisation(report),
        _compression(report),
        element("div", _costs(report), _origin(report), class_="columns"),
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
    given = _share(labelled) if labelled["images"] else "none was labelled"
    return _section(
        "On the test pictures",
        figures(
            ("right, as shipped (INT8)", f"{test['int8']['accuracy']:.1%}", _counted(test["int8"])),
            (
                "INT8 against FP32, same pictures",
                f"{same['accuracy'] - test['fp32']['accuracy']:+.1%}",
                f"{same['correct']} against {test['fp32']['correct']} of {same['images']}",
            ),
            (
                "labelled at all",
                f"{labelled['share']:.1%}",
                f"the rest is UNSURE; of the labelled ones right: {given}",
            ),
            (
                "calibration error",
                f"{calibrated['after']['ece']:.1%}",
                f"how far confidence is from being right; {calibrated['before']['ece']:.1%} before calibration",
            ),
            (
                "against logistic regression",
                f"{lead:+d} right",
                f"{baseline['head_correct']} against {baseline['correct']} of {baseline['images']}, same features; "
                f"p = {baseline['p_value']:.2f}",
            ),
            ("model.onnx", _megabytes(sizes["model.onnx"]), f"{_megabytes(sizes['same_graph_fp32'])} in FP32"),
        ),
    )


def _data(report: Report) -> Html:
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
            "details", element("summary", f"{len(left_out)} files left out"), _table(("file", "why"), entries)
        )
    return _section(
        "Data",
        _table(("pictures", *splits), rows),
        element("p", made, class_="note"),
        element("p", "SHA-256 of names, labels and contents: ", element("code", report["data_sha256"]), class_="note"),
        listed or element("p", "Every file could be read.", class_="note"),
    )


def _classes(report: Report) -> Html:
    rows = [
        (label, f"{scores['accuracy']:.1%}", _interval(scores), f"{scores['correct']} of {scores['images']}")
        for label, scores in report["classes"].items()
    ]
    return _section(
        "By label",
        _table(("test pictures of", "right", "95 % interval", ""), rows),
        element(
            "p",
            "The interval (Wilson) says where the accuracy on all such pictures may lie: the fewer, the wider.",
            class_="note",
        ),
    )


def _confusion(report: Report) -> Html:
    matrix, labels = np.array(report["confusion"]), report["labels"]
    if len(labels) <= LABELS_IN_MATRIX:
        return _section("What is taken for what", confusion_table(matrix, labels))
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS_LISTED]
    pairs = [divmod(int(index), len(labels)) for index in order]
    rows = [(labels[true], labels[given], str(wrong[true, given])) for true, given in pairs if wrong[true, given]]
    return _section("What is taken for what", _table(("is", "was given", "pictures"), rows))


def _calibration(report: Report) -> Html:
    calibration = report["calibration"]
    threshold, test = calibration["threshold"], calibration["test"]
    rows = []
    for split in ("validation", "test"):
        for when in ("before", "after"):
            found = calibration[split][when]
            values = (f"{found['ece']:.2%}", f"{found['log_loss']:.4f}", f"{found['brier']:.4f}")
            rows.append((f"{split}, {when}", *values))
    unsure = 1 - test["labelled"]["share"]
    return _section(
        "What its confidence means",
        element(
            "p",
            f"Logits are divided by the temperature {calibration['temperature']:.3f}. With a confidence under "
            f"{threshold['value']:.4f} no label is given: the picture is UNSURE. That was chosen on validation, so "
            f"that {threshold['precision']:.0%} of the labels given are right; on test it keeps back {unsure:.1%}.",
            class_="note",
        ),
        element(
            "div",
            element("div", element("h3", "Test, before calibration"), reliability_diagram(_bins(test["before"]))),
            element("div", element("h3", "Test, as shipped"), reliability_diagram(_bins(test["after"]))),
            class_="columns",
        ),
        _table(("", "calibration error", "log loss", "Brier score"), rows),
        element("p", calibration["caution"], class_="note"),
    )


def _mistakes(report: Report, pictures: Mapping[str, str]) -> Html:
    mistakes = report["mistakes"]
    if not mistakes:
        return _section("Mistakes", element("p", "None on the test pictures.", class_="note"))
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
    return _section(
        "Mistakes",
        element(
            "p",
            f"{len(mistakes)} of the test pictures, {kept_back} of them kept back as UNSURE. "
            + (
                f"The {len(shown)} most confident; report.json lists all."
                if len(shown) < len(mistakes)
                else "All of them:"
            ),
            class_="note",
        ),
        element("ul", cards, class_="cards"),
    )


def _int8(report: Report) -> Html:
    rows = []
    for split, scores in report["accuracy"].items():
        cells = [_share(scores[kind]) if kind in scores else "–" for kind in ("int8", "fp32", "int8_on_fp32_images")]
        rows.append((split, *cells))
    return _section(
        "INT8 against FP32",
        _table(("right", "INT8, all pictures", "FP32, some of them", "INT8, the same ones"), rows),
        element(
            "p",
            "FP32 is slow, so it gets as many pictures as the build can afford. The finished INT8 graph and the Keras "
            f"head differ by at most {report['largest_difference_to_keras']:.1e} in a probability.",
            class_="note",
        ),
    )


def _head(report: Report) -> Html:
    head = report["head"]
    history = head["history"]
    kept = next(each["epoch_kept"] for each in head["candidates"] if each["name"] == head["chosen"])
    epochs = [str(epoch) for epoch in range(1, len(history["loss"]) + 1)]
    said = f"Epoch {kept} was kept. Dropout is active in the training figures only."
    curves = [
        element(
            "div",
            element("h3", title),
            line_chart(
                f"{title}, epoch by epoch.",
                said,
                epochs,
                [Series("training", history[name]), Series("validation", history[f"val_{name}"])],
                percent=name == "accuracy",
            ),
        )
        for name, title in (("loss", "Loss"), ("accuracy", "Accuracy"))
    ]
    rows = [
        (
            _chosen(each["name"], head["chosen"]),
            each["pooling"],
            f"{each['parameters']:,}",
            f"{each['epoch_kept']} of {each['epochs_run']}",
            f"{each['validation']['accuracy']:.1%}",
            f"{each['validation']['log_loss']:.4f}",
            f"{each['seconds']:.1f}",
        )
        for each in head["candidates"]
    ]
    plain = head["baseline"]["validation"]
    rows.append(("logistic regression", "", "", "", f"{plain['accuracy']:.1%}", f"{plain['log_loss']:.4f}", ""))
    return _section(
        "How the head was chosen",
        element("p", f"Taken is the one with {head['rule']}.", class_="note"),
        _table(("", "pooling", "parameters", "epoch kept", "validation right", "log loss", "seconds"), rows),
        element("div", curves, class_="columns"),
    )


def _quantisation(report: Report) -> Html:
    quantisation = report["quantisation"]
    rows = [
        (
            _chosen(each["name"], quantisation["chosen"]),
            str(each["images"]),
            "not finite" if each["error"] is None else f"{each['error']:.2%}",
            f"{each['milliseconds']:.1f}",
        )
        for each in quantisation["candidates"]
    ]
    return _section(
        "How the INT8 ranges were chosen",
        element(
            "p",
            f"Error of the base's features against FP32, on {quantisation['images']} validation pictures. Taken is "
            f"{quantisation['rule']}.",
            class_="note",
        ),
        _table(("", "calibrated on", "error", "ms a picture"), rows),
    )


def _compression(report: Report) -> Html:
    """Empty where no network with fewer multiplications was asked for."""
    if "compression" not in report:
        return Html("")
    found = report["compression"]
    full, test = found["networks"][0], found["test"]
    rows = [
        (
            _chosen(each["name"], found["chosen"]),
            f"{each['multiplications'] / 1e9:.2f}",
            _megabytes(each["bytes"]),
            f"{each['milliseconds']:.1f}",
            f"{full['milliseconds'] / each['milliseconds']:.2f}",
            f"{each['validation']['accuracy']:.1%}",
        )
        for each in found["networks"]
    ]
    layers = [
        (str(number), str(each["channels"]), *(f"{each[name]:.2g}" for name in ("half", "quarter", "eighth")))
        for number, each in enumerate(found["redundancy"], start=1)
    ]
    return _section(
        "Fewer multiplications",
        element(
            "p",
            f"Shipped: {found['chosen']} ({found['rule']}). On {test['images']} test pictures the full network has "
            f"{test['full_correct']} right, the shipped one {test['correct']} (McNemar p = {test['p_value']:.2f}).",
            class_="note",
        ),
        _table(("", "10\u2079 multiplications", "INT8", "ms a picture", "times faster", "validation right"), rows),
        element(
            "details",
            element("summary", "How much each layer has to spare"),
            element(
                "p",
                "What the logits lose, mean square to first order, when only so many of its channels stay.",
                class_="note",
            ),
            _table(("layer", "channels", "a half", "a quarter", "an eighth"), layers),
        ),
    )


def _costs(report: Report) -> Html:
    seconds, machine = report["seconds"], report["machine"]
    return _section(
        "What the build took",
        _table(("stage", "seconds"), [(name, f"{value:.1f}") for name, value in seconds.items()]),
        element(
            "p",
            f"{machine['cores']} cores ({machine['architecture']}), Python {machine['python']}. What an earlier build "
            "left in the cache was not computed again.",
            class_="note",
        ),
    )


def _origin(report: Report) -> Html:
    settings = report["settings"]
    single = [(name, str(value)) for name, value in settings.items() if not isinstance(value, list | tuple | dict)]
    weights = report["weights"] if report["weights"] in ("imagenet", "random") else "FILE"
    return _section(
        "Where it comes from",
        _table(("package", "version"), list(report["packages"].items())),
        element("p", "SHA-256 of the weights' values: ", element("code", report["weights_sha256"]), class_="note"),
        element("details", element("summary", "The settings"), _table(("setting", "value"), single)),
        element(
            "p",
            "The same data, weights, settings and versions give the same model on the same kind of machine: ",
            element("code", f"make model DATA=FOLDER WEIGHTS={weights} IMAGE_SIZE={settings['image_size']}"),
            class_="note",
        ),
    )


def _section(title: str, *content: Content) -> Html:
    return element("section", element("h2", title), *content)


def _table(head: Sequence[str], rows: Iterable[Sequence[Content]]) -> Html:
    """A table whose first column names the rows."""
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell) for cell in row[1:]]) for row in rows
    ]
    top = element("tr", [element("th", each, scope="col") for each in head])
    return element("div", element("table", top, body), class_="scroll")


def _chosen(name: str, chosen: str) -> Content:
    return joined(name, " ", element("span", "taken", class_="badge tone-good")) if name == chosen else name


def _share(scores: Mapping[str, Any]) -> str:
    return f"{scores['accuracy']:.1%} of {scores['images']} ({_interval(scores)})"


def _counted(scores: Mapping[str, Any]) -> str:
    return f"{scores['correct']} of {scores['images']}; 95 % interval {_interval(scores)}"


def _interval(scores: Mapping[str, Any]) -> str:
    low, high = scores["interval"]
    return f"{low:.1%} to {high:.1%}"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _bins(found: Mapping[str, Any]) -> list[ReliabilityBin]:
    """The reliability curve as it was before report.json, which has null for NaN."""
    return [
        ReliabilityBin(each["low"], each["high"], each["count"], _known(each["confidence"]), _known(each["accuracy"]))
        for each in found["bins"]
    ]


def _known(value: float | None) -> float:
    return math.nan if value is None else value
