"""The model card, second half: how it was decided, what it took, and how to make it again."""

from __future__ import annotations

from evaluation.charts import Series, line_chart
from evaluation.page import Content, Html, element, joined
from model_build.report.card_parts import Report, columns, megabytes, note, section, table


def head(report: Report) -> Html:
    """How the head was chosen."""
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
    return section(
        "How the head was chosen",
        note(f"Taken is the one with {head['rule']}."),
        table(("", "pooling", "parameters", "epoch kept", "validation right", "log loss", "seconds"), rows),
        columns(curves),
    )


def quantisation(report: Report) -> Html:
    """How the INT8 ranges were chosen."""
    quantisation = report["quantisation"]
    rows = [
        (
            _chosen(each["name"], quantisation["chosen"]),
            str(each["images"]),
            "not finite" if each["error"] is None else f"{each['error']:.2%}",
            str(each["correct"]),
            f"{each['milliseconds']:.1f}",
        )
        for each in quantisation["candidates"]
    ]
    rows.append(("FP32", "", "", str(quantisation["fp32_correct"]), ""))
    return section(
        "How the INT8 ranges were chosen",
        note(
            f"Error of the base's features against FP32, on {quantisation['images']} validation pictures. Taken is "
            f"{quantisation['rule']}. Right is what the chosen head says of those features; it learnt from the "
            "features of the one that is taken, and so few pictures tell apart only what is much worse."
        ),
        table(("", "calibrated on", "error", f"right of {quantisation['images']}", "ms a picture"), rows),
    )


def compression(report: Report) -> Html:
    """Empty where no smaller network was asked for."""
    if "compression" not in report:
        return Html("")
    found = report["compression"]
    full, test = found["networks"][0], found["test"]
    rows = [
        (
            _chosen(each["name"], found["chosen"]),
            f"{each['multiplications'] / 1e9:.2f}",
            megabytes(each["bytes"]),
            f"{each['milliseconds']:.1f}",
            f"{full['milliseconds'] / each['milliseconds']:.2f}",
            f"{each['validation']['accuracy']:.1%}",
            f"{each['validation']['log_loss']:.4f}",
        )
        for each in found["networks"]
    ]
    columns = ("half", "half_by_lasso", "quarter", "rank_2", "rank_4")
    layers = [
        (str(number), str(each["channels"]), *("" if each[name] is None else f"{each[name]:.2g}" for name in columns))
        for number, each in enumerate(found["redundancy"], start=1)
    ]
    return section(
        "Less arithmetic",
        note(
            f"Shipped: {found['chosen']} ({found['rule']}). On {test['images']} test pictures the full network has "
            f"{test['full_correct']} right, the shipped one {test['correct']} (McNemar p = {test['p_value']:.2f}).",
        ),
        table(
            ("", "10\u2079 multiplications", "INT8", "ms a picture", "times faster", "validation right", "log loss"),
            rows,
        ),
        element(
            "details",
            element("summary", "How much each layer has to spare"),
            note(
                "What the logits lose, mean square to first order, when only so many of its channels stay, or when its "
                "kernel becomes a column and a row that take so many times fewer multiplications."
            ),
            table(("layer", "channels", "a half", "a half by LASSO", "a quarter", "rank, 2x", "rank, 4x"), layers),
        ),
    )


def costs(report: Report) -> Html:
    """How long the build took."""
    seconds, machine, reused = report["seconds"], report["machine"], report["reused"]
    cached = (
        f"Not computed again, for an earlier build had left them: {reused} of the graphs and features of pictures."
        if reused
        else "Nothing was left of an earlier build: these are the seconds of a whole one."
    )
    return section(
        "What the build took",
        table(("stage", "seconds"), [(name, f"{value:.1f}") for name, value in seconds.items()]),
        note(f"{machine['cores']} cores ({machine['architecture']}), Python {machine['python']}. {cached}"),
    )


def origin(report: Report) -> Html:
    """From what it was made, and how to make it again."""
    settings = report["settings"]
    single = [(name, str(value)) for name, value in settings.items() if not isinstance(value, list | tuple | dict)]
    weights = report["weights"] if report["weights"] in ("imagenet", "random") else "FILE"
    compress = f" COMPRESS={settings['compress']}" if settings["compress"] != "none" else ""
    return section(
        "Where it comes from",
        table(("package", "version"), list(report["packages"].items())),
        note("SHA-256 of the weights' values: ", element("code", report["weights_sha256"])),
        element("details", element("summary", "The settings"), table(("setting", "value"), single)),
        note(
            "The same data, weights, settings and versions give the same model on the same kind of machine: ",
            element("code", f"make model DATA=FOLDER WEIGHTS={weights} IMAGE_SIZE={settings['image_size']}{compress}"),
        ),
    )


def _chosen(name: str, chosen: str) -> Content:
    return joined(name, " ", element("span", "taken", class_="badge tone-good")) if name == chosen else name
