"""The night's report as a page: the verdict first, in words, then what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from evaluation.charts import Series, bars, confusion_table, line_chart, reliability_diagram
from evaluation.comparison import Comparison
from evaluation.drift import FEW_UPLOADS, MOVED, STABLE, Uploads
from evaluation.page import Html, card, element, figures, joined, page
from evaluation.predictions import Scored
from evaluation.report import NIGHTS, Figures, Night, NightlyReport, Verdict, headline, reasons

TONES = {
    Verdict.BETTER: "good",
    Verdict.SAME: "good",
    Verdict.FIRST: "good",
    Verdict.WORSE: "bad",
    Verdict.INCOMPLETE: "other",
}
MAX_PICTURES = 24  # of the worst mistakes, and of the flips
MAX_MATRIX = 20  # labels up to which the whole confusion matrix can be read
MAX_CONFUSIONS = 20  # pairs of labels listed where it cannot


def report_page(report: NightlyReport, scored: Sequence[Scored], trend: Sequence[Night]) -> str:
    """The whole page. `trend` are the nights up to this one, oldest first; thumbnails come with `scored`."""
    found = report.figures
    sections = [
        _figures(report, found) if found else "",
        _matters(report, found, trend) if found else "",
        _unscored(report),
        _mistakes(scored),
        _flips(report, scored),
        _uploads(report, trend),
        _about(report),
    ]
    return page(f"{headline(report)} ({report.date})", _header(report), sections)


def index_page(nights: Sequence[date], known: Sequence[Night]) -> str:
    """The list of nights, newest first, with what the known ones found; older ones by their date alone."""
    by_date = {night.date: night for night in known}
    head = ("night", "verdict", "accuracy", "95% interval", "pictures", "model")
    rows = [_index_row(night, by_date.get(night)) for night in sorted(set(nights) | set(by_date), reverse=True)]
    table = element("table", element("tr", [element("th", each, scope="col") for each in head]), rows)
    return page(
        "Is it still right? All nights",
        element("header", element("h1", "Is it still right?"), element("p", "Every night's report, newest first.")),
        _section("Accuracy", _accuracy_trend(sorted(known, key=lambda night: night.date))) if known else "",
        _section("Nights", element("div", table, class_="scroll")),
    )


def _index_row(day: date, night: Night | None) -> Html:
    link = element("a", str(day), href=f"{day}/index.html")
    if night is None:
        return element("tr", element("td", link), [element("td", "") for _ in range(5)])
    interval = f"{night.interval.low:.1%} to {night.interval.high:.1%}" if night.pictures else "–"
    verdict = element("b", night.verdict.value, class_=f"tone-{TONES[night.verdict]}", style="color: var(--tone)")
    cells = (verdict, _percent(night.accuracy), interval, f"{night.pictures:,}", element("code", night.model_version))
    return element("tr", element("td", link, class_="whole"), [element("td", each, class_="whole") for each in cells])


def _header(report: NightlyReport) -> Html:
    tone = "bad" if report.below_minimum else TONES[report.verdict]
    return element(
        "header",
        element("p", element("span", report.verdict.value, class_="badge"), class_=f"tone-{tone}"),
        element("h1", headline(report)),
        [element("p", reason) for reason in reasons(report)],
    )


def _figures(report: NightlyReport, found: Figures) -> Html:
    interval = f"95% interval {found.interval.low:.1%} to {found.interval.high:.1%}"
    sure = f"{found.unsure:,} pictures; without them {_percent(found.accuracy_when_sure)} are right"
    shown = figures(
        ("Accuracy", f"{found.accuracy:.1%}", interval),
        ("Always the same answer", f"{found.baseline:.1%}", "accuracy of the best constant answer"),
        ("UNSURE", f"{found.unsure / found.pictures:.1%}", sure),
        ("Log loss", f"{found.log_loss:.3f}", f"0 is perfect; guessing gives {math.log(len(found.classes)):.3f}"),
        ("Brier score", f"{found.brier_score:.3f}", "0 is perfect, 2 the worst"),
        ("Calibration error", f"{found.expected_calibration_error:.1%}", "how far confidence and truth lie apart"),
        ("Time a picture", f"{report.speed.inference_ms:.1f} ms", "in the network alone, on one processor"),
        ("Pictures a second", f"{_rate(report)}", "fetching and decoding included"),
    )
    return _section("The figures", shown)


def _matters(report: NightlyReport, found: Figures, trend: Sequence[Night]) -> Html:
    labels = report.model.labels
    return element(
        "div",
        _section("What is taken for what", _confusion(found, labels), _classes(found, labels)),
        _section("Is it right as often as it says?", reliability_diagram(found.reliability)),
        _section("The last nights", _accuracy_trend(trend)),
        class_="columns",
    )


def _confusion(found: Figures, labels: Sequence[str]) -> Html:
    matrix = np.array(found.confusion)
    if len(labels) <= MAX_MATRIX:
        return confusion_table(matrix, labels)
    pairs = [(int(count), row, column) for (row, column), count in np.ndenumerate(matrix) if count and row != column]
    rows = [
        element("tr", element("th", labels[row], scope="row"), element("td", labels[column]), element("td", str(count)))
        for count, row, column in sorted(pairs, key=lambda pair: -pair[0])[:MAX_CONFUSIONS]
    ]
    head = element("tr", [element("th", each, scope="col") for each in ("is", "was taken for", "pictures")])
    caption = element("caption", "The most frequent confusions; report.json has the whole matrix.")
    return element("div", element("table", caption, head, rows), class_="scroll")


def _classes(found: Figures, labels: Sequence[str]) -> Html:
    head = element(
        "tr", [element("th", each, scope="col") for each in ("label", "precision", "recall", "F1", "pictures")]
    )
    rows = [
        element(
            "tr",
            element("th", label, scope="row"),
            [element("td", _percent(value)) for value in (each.precision, each.recall, each.f1)],
            element("td", f"{each.support:,}"),
        )
        for label, each in zip(labels, found.classes, strict=True)
    ]
    caption = (
        "Precision: of the pictures given this label, the share that show it. Recall: of the pictures that show it, "
        "the share given it. F1: their harmonic mean."
    )
    return element("div", element("table", element("caption", caption), head, rows), class_="scroll")


def _accuracy_trend(trend: Sequence[Night]) -> Html:
    days, nights = _calendar(trend)
    scored = [night if night is not None and night.pictures else None for night in nights]
    accuracy = Series(
        "accuracy",
        [night.accuracy if night else math.nan for night in scored],
        [night.interval.low if night else math.nan for night in scored],
        [night.interval.high if night else math.nan for night in scored],
    )
    description = (
        "Accuracy on the test set, night by night. The band is its 95% interval; a gap is a night without one."
    )
    return line_chart("Accuracy of the last nights", description, days, [accuracy], percent=True)


def _calendar(trend: Sequence[Night]) -> tuple[list[str], list[Night | None]]:
    """The last NIGHTS days up to the newest night, those without a report too, from the first one that has one."""
    by_date = {night.date: night for night in trend}
    newest = max(by_date)
    first = max(min(by_date), newest - timedelta(days=NIGHTS - 1))
    days = [first + timedelta(days=number) for number in range((newest - first).days + 1)]
    return [f"{day:%m-%d}" for day in days], [by_date.get(day) for day in days]


def _unscored(report: NightlyReport) -> Html | str:
    if not report.unscored:
        return ""
    rows = [
        element("tr", element("td", element("code", each.key)), element("td", each.reason))
        for each in report.unscored_examples
    ]
    has = "picture has no answer, and counts" if report.unscored == 1 else "pictures have no answer, and count"
    some = f" {len(rows):,} of them:" if len(rows) < report.unscored else ""
    note = element("p", f"{report.unscored:,} {has} neither as right nor as wrong.{some}", class_="note")
    return _section("Without an answer", note, element("div", element("table", rows, class_="facts"), class_="scroll"))


def _mistakes(scored: Sequence[Scored]) -> Html | str:
    wrong = sorted(
        (each for each in scored if not each.right), key=lambda each: (-each.prediction.confidence, each.key)
    )
    if not wrong:
        return _section("The worst mistakes", element("p", "There are none.", class_="note")) if scored else ""
    cards = [
        card(
            "bad",
            each.thumbnail,
            each.prediction.label,
            f"{each.prediction.confidence:.1%}",
            f"it is {each.true}" + (" (UNSURE: not used)" if each.unsure else ""),
            each.key,
        )
        for each in wrong[:MAX_PICTURES]
    ]
    which = (
        "All wrong answers" if len(cards) == len(wrong) else f"The {len(cards)} surest of {len(wrong):,} wrong answers"
    )
    note = f"{which}, the surest first. What the network saw, in its resolution."
    return _section("The worst mistakes", element("p", note, class_="note"), element("ul", cards, class_="cards"))


def _flips(report: NightlyReport, scored: Sequence[Scored]) -> list[Html]:
    pictures = {each.key: each.thumbnail for each in scored}
    return [
        _flip_section(comparison, pictures)
        for comparison in (report.last_night, report.build)
        if comparison is not None and comparison.flips
    ]


def _flip_section(comparison: Comparison, pictures: dict[str, str | None]) -> Html:
    cards = [
        card(
            "good" if flip.now == flip.true else "bad",
            pictures.get(flip.key),
            flip.now,
            f"was {flip.before}",
            "newly right" if flip.now == flip.true else f"it is {flip.true}",
            flip.key,
        )
        for flip in comparison.flips[:MAX_PICTURES]
    ]
    were = "picture was" if comparison.flipped == 1 else "pictures were"
    note = (
        f"{comparison.flipped:,} {were} given another label than by {comparison.model_version} "
        f"({comparison.against}): {comparison.newly_wrong:,} newly wrong, {comparison.newly_right:,} newly right. "
        f"If nothing had changed, chance would bring a difference like this with a probability of "
        f"{comparison.p_value:.2g} (McNemar's test)."
    )
    return _section(
        f"What changed against {comparison.against}",
        element("p", note, class_="note"),
        element("ul", cards, class_="cards"),
    )


def _uploads(report: NightlyReport, trend: Sequence[Night]) -> Html | str:
    uploads = report.uploads
    if uploads is None:
        return ""  # among the reasons
    if not uploads.total:
        return _section("What is uploaded", element("p", f"No uploads were labelled on {uploads.day}.", class_="note"))
    names = [*uploads.labels, "UNSURE", "UNREADABLE"]
    counts = [*uploads.labels.values(), uploads.unsure, uploads.unreadable]
    share = [count / uploads.total for count in counts]
    note = f"{uploads.total:,} uploads were labelled on {uploads.day} (UTC)."
    if not uploads.complete:
        note += " There were more, and no time to read all of them."
    if uploads.stability_index is not None:
        note += (
            f" Population stability index of their confidences against the test set's: "
            f"{uploads.stability_index:.3f}. Under {STABLE} is commonly read as stable, above {MOVED} as moved."
        )
        if uploads.total < FEW_UPLOADS:
            note += f" With fewer than {FEW_UPLOADS} uploads it says little."
    days, nights = _calendar(trend)
    chart = line_chart(
        "Unsure and unreadable uploads",
        "Share of a day's uploads, night by night.",
        days,
        [
            Series("UNSURE", [night.unsure_share if night else math.nan for night in nights]),
            Series("UNREADABLE", [night.unreadable_share if night else math.nan for night in nights]),
        ],
        percent=True,
        shown=(0.0,),
    )
    index = line_chart(
        "Population stability index",
        "Of the uploads' confidences against the test set's, night by night.",
        days,
        [Series("index", [night.stability_index if night else math.nan for night in nights])],
        percent=False,
        shown=(0.0, MOVED),
    )
    return joined(
        _section("What is uploaded", element("p", note, class_="note"), bars("label", names, {"share": share})),
        element(
            "div",
            _section("How sure it is", _confidences(uploads)),
            _section("Unsure and unreadable", chart),
            _section("How far uploads are from the test set", index),
            class_="columns",
        ),
    )


def _confidences(uploads: Uploads) -> Html:
    sides = {"test set": uploads.testset_histogram, "uploads": uploads.histogram}
    step = 1 / len(uploads.histogram)
    used = [number for number, counts in enumerate(zip(*sides.values(), strict=True)) if any(counts)]
    shares = {
        name: [counts[number] / sum(counts) if sum(counts) else math.nan for number in used]
        for name, counts in sides.items()
    }
    return bars("confidence", [f"{100 * number * step:.0f}–{(number + 1) * step:.0%}" for number in used], shares)


def _about(report: NightlyReport) -> Html:
    model, testset, speed = report.model, report.testset, report.speed
    vnni = {True: "with VNNI", False: "without VNNI", None: ""}[speed.vnni]
    height, width = model.input_size
    facts = (
        ("Model", f"{model.version}, {height} x {width} pixels, UNSURE below {model.confidence_threshold:.0%}"),
        ("Labels", ", ".join(model.labels)),
        ("Test set", f"s3://{testset.bucket}/{testset.prefix}: {testset.pictures:,} pictures"),
        ("Scored in", f"{speed.seconds:.1f} s on {speed.threads} processors, {speed.processor} {vnni}"),
        ("Made at", f"{report.created_at:%Y-%m-%d %H:%M:%S %Z}, run {report.run}"),
    )
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value, class_="fact")) for name, value in facts
    ]
    # By way of the night's folder, so that the links hold on the copy under latest/ too.
    folder = f"../{report.date}/runs/{report.run}/"
    links = [
        element("li", element("a", name, href=folder + name), f" {what}")
        for name, what in (
            ("report.json", "every figure of this page"),
            ("predictions.csv", "the answer to every picture"),
        )
    ]
    nights = element("li", element("a", "all nights", href="../index.html"))
    return _section("About this report", element("table", rows, class_="facts"), element("ul", links, nights))


def _section(title: str, *content: Html | str) -> Html:
    return element("section", element("h2", title), content)


def _rate(report: NightlyReport) -> str:
    found = report.figures
    return f"{found.pictures / report.speed.seconds:.1f}" if found and report.speed.seconds else "–"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"
