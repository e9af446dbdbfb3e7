"""The pages in a real browser: names from outside run nothing, and pages fit any width."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.class_activation import Shade
from evaluation.comparison import compare_pictures
from evaluation.drift import UploadRow, count_uploads
from evaluation.predictions import Scored, Unscored
from evaluation.report import Model, NightlyReport, Speed, TestSetSummary, figures_of
from evaluation.report_page import nights_page, report_page
from evaluation.thumbnails import thumbnail
from labeller.results import Prediction, Status
from local.demo import contact_sheet
from model_build.report.card import card_page
from model_build.suspects import Suspect
from tests.browser import SCREENSHOTS, accessibility_violations, program, screenshot, started
from tests.local.demo.test_contact_sheet import entry
from tests.model_build.report.example import report as example_report

pytestmark = pytest.mark.slow

RUN = "document.documentElement.setAttribute('data-run','yes')"
PAYLOADS = (
    f'<img src=x onerror="{RUN}">.jpg',
    f"<img src=x onerror={RUN}>.jpg",
    f"<script>{RUN}</script>",
    f"</title></style></textarea><script>{RUN}</script>",
    f'" onload="{RUN}" x="',
    f"' onerror='{RUN}' x='",
    f"<svg onload={RUN}>",
    f"<a href=javascript:{RUN}>x</a>",
    f"--><script>{RUN}</script><!--",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that opens a page with arguments and returns what the browser prints."""
    path = program()
    profile = tmp_path_factory.mktemp("profile")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

    def run(page: Path, *arguments: str) -> str:
        command = [path, *options, "--hide-scrollbars", f"--user-data-dir={profile}", *arguments, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    return run


SHADE = Shade.of(np.array([[0, 1], [0, 0]], np.float32), 64, 48)


def hostile_report() -> tuple[NightlyReport, list[Scored]]:
    """A report in which an attacker has chosen every name."""
    labels = PAYLOADS[:3]
    pixels = np.random.default_rng(1).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    scored = []
    for number, payload in enumerate(PAYLOADS * 3):
        label = labels[number % 2]
        scores = {name: 0.9 if name == label else 0.05 for name in labels}
        picture = thumbnail(pixels, 4, 3)
        scored.append(
            Scored(
                f"{labels[0]}/{payload}",
                labels[0],
                str(number),
                Prediction(label, 0.9, scores),
                Status.LABELLED,
                picture,
            )
        )
    before = {answer.identity: labels[2] for answer in scored}
    rows = [UploadRow(Status.LABELLED, payload, 0.9) for payload in PAYLOADS]
    report = NightlyReport(
        date=date(2026, 11, 24),
        run=PAYLOADS[0],
        created_at=datetime(2026, 11, 24, 3, tzinfo=UTC),
        model=Model(PAYLOADS[3], labels, (16, 16), 0.9),
        testset=TestSetSummary(PAYLOADS[4], PAYLOADS[5], len(scored) + 9, 1, dict.fromkeys(labels, 1) | {labels[2]: 0}),
        figures=figures_of(scored, labels),
        unscored_causes=dict.fromkeys(PAYLOADS, 1),
        unscored_examples=tuple(Unscored(payload, f"{payload}: {payload}") for payload in PAYLOADS),
        speed=Speed(1.0, 40.0, PAYLOADS[2], True, 2),
        last_night=compare_pictures(PAYLOADS[1], PAYLOADS[2], before, scored),
        build=None,
        uploads=count_uploads(date(2026, 11, 23), rows, labels, scored, complete=True),
        minimum_accuracy=0.9,
        predictions_key=PAYLOADS[0],
    )
    return report, scored


def hostile_pages(folder: Path) -> dict[str, Path]:
    report, scored = hostile_report()
    nights = [report.night]
    shades = {answer.key: SHADE for answer in scored}
    pages = {"report": report_page(report, scored, nights, shades=shades), "nights": nights_page([report.date], nights)}
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    entries = [entry(key=payload, label=payload, true=payload, reason=payload) for payload in PAYLOADS]
    contact_sheet.write(folder / "sheet.html", PAYLOADS[0], PAYLOADS, entries)
    return {name: folder / f"{name}.html" for name in (*pages, "sheet")}


def test_a_page_without_escaping_runs_the_payload(browser: Callable[..., str], tmp_path: Path) -> None:
    page = tmp_path / "careless.html"
    page.write_text(f"<!doctype html><title>t</title><body>{PAYLOADS[0]}", encoding="utf-8")
    assert 'data-run="yes"' in browser(page, "--dump-dom")


@pytest.mark.parametrize("name", ["report", "nights", "sheet"])
def test_no_name_from_outside_runs_anything_or_becomes_an_element(
    browser: Callable[..., str], tmp_path: Path, name: str
) -> None:
    page = hostile_pages(tmp_path)[name]
    dom = browser(page, "--dump-dom")
    assert 'data-run="yes"' not in dom
    assert "'data-run','yes'" in dom  # present as text:
    assert not [tag for tag in ("<script", '<img src="x"', "<svg onload", '<a href="javascript') if tag in dom]


def test_the_policy_stops_an_unescaped_payload(browser: Callable[..., str], tmp_path: Path) -> None:
    page = hostile_pages(tmp_path)["report"]
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", f"{''.join(PAYLOADS)}</body>"), encoding="utf-8")
    dom = browser(page, "--dump-dom")
    assert '<img src="x"' in dom  # so the payload is in the page
    assert 'data-run="yes"' not in dom


def test_pages_meet_wcag_aa(tmp_path: Path) -> None:
    """Those of the night, and the card of a model: with the keyboard, with a screen reader, in both colour schemes."""
    pages = hostile_pages(tmp_path)
    pages["card"] = tmp_path / "card.html"
    suspects = [Suspect("test", PAYLOADS[0], "0", PAYLOADS[1], PAYLOADS[2], 0.1, 0.9)]
    report = example_report()
    wrong = {mistake.path: thumbnail(np.full((16, 16, 3), 200, np.uint8), 4, 3) for mistake in report.mistakes}
    pages["card"].write_text(card_page(report, wrong, suspects, dict.fromkeys(wrong, SHADE)), encoding="utf-8")
    with started() as chromium:
        for scheme in ("light", "dark"):
            context = chromium.new_context(viewport={"width": 400, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            for name, path in pages.items():
                page.goto(path.as_uri())
                if name in ("card", "report"):
                    page.get_by_text("Why").first.click()
                    assert page.locator("img.shade").first.is_visible()
                    assert page.locator("img.shade:visible").count() == 1
                    page.locator("img.shade").first.scroll_into_view_if_needed()
                assert accessibility_violations(page) == [], f"{name}, {scheme}"
                assert page.locator("main").count() == 1
                assert page.evaluate("document.documentElement.scrollWidth") == 400, name
                screenshot(page, f"{name}-400-{scheme}")
            context.close()


def test_paper_has_the_reasons_that_are_open_on_the_screen(tmp_path: Path) -> None:
    with started() as chromium:
        page = chromium.new_page(viewport={"width": 1000, "height": 900})
        page.goto(hostile_pages(tmp_path)["report"].as_uri())
        page.get_by_text("Why").nth(1).click()
        page.emulate_media(media="print")
        assert page.locator("img.shade:visible").count() == 1
        assert page.get_by_text("Why").filter(visible=True).count() == 0
        assert page.get_by_text("Bright: what speaks for").filter(visible=True).count() == 1


def test_only_a_table_that_scrolls_is_marked_so(tmp_path: Path) -> None:
    """At a width at which boxes end between two pixels."""
    with started() as chromium:
        page = chromium.new_page(viewport={"width": 777, "height": 900})
        page.goto(hostile_pages(tmp_path)["report"].as_uri())
        for box in page.locator(".scroll:visible").all():
            with Image.open(io.BytesIO(box.screenshot())) as image:
                top = np.asarray(image.convert("RGB"))[2]
            scrolls = box.evaluate("box => box.scrollWidth > box.clientWidth")
            assert (top[-1:] == top[-3]).all() != scrolls, box.inner_text()


@pytest.mark.parametrize("width", [400, 1280])
def test_a_label_on_a_card_has_the_cards_width_before_it_breaks(tmp_path: Path, width: int) -> None:
    """The remark goes below a label that leaves it no room: a long label must not become a column of syllables."""
    labels = ["two words here", "Geschwindigkeit", "x" * 120]
    suspects = [Suspect("test", str(number), str(number), "a", label, 0.1, 0.9) for number, label in enumerate(labels)]
    page = tmp_path / "card.html"
    page.write_text(card_page(example_report(), {}, suspects), "utf-8")
    with started() as chromium:
        opened = chromium.new_page(viewport={"width": width, "height": 900})
        opened.goto(page.as_uri())
        shown = [opened.locator(".label > span:first-child", has_text=label) for label in labels]
        widths = [one.evaluate("e => e.offsetWidth / e.parentElement.offsetWidth") for one in shown]
        heights = [one.evaluate("e => e.offsetHeight") for one in shown]
    assert heights[0] == heights[1] < 30  # one line
    assert widths[2] > 0.95


@pytest.mark.parametrize("width", [500, 1280])
def test_pages_fit_the_width_of_the_window(browser: Callable[..., str], tmp_path: Path, width: int) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, page in hostile_pages(tmp_path).items():
        picture = SCREENSHOTS / f"{name}-{width}.png"
        picture.unlink(missing_ok=True)
        browser(page, f"--window-size={width},2400", f"--screenshot={picture}")
        with Image.open(picture) as image:
            assert image.size == (width, 2400)
            # Nothing overflows on the right: the last columns show the background alone.
            right = np.asarray(image.convert("RGB"))[:, -8:]
            assert (right == right[0, 0]).all()
