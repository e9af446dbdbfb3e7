"""The demo on a small real model: uploads, S3's notifications, the real handlers, and the results read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from local.demo import __main__ as demo
from local.demo.contact_sheet import Entry
from local.demo.inputs import DemoInputs
from local.demo.labelling import DemoRun, choose_uploads, label_uploads
from model_build.data.dataset import scan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def result(built: Path, drawn_data: Path, out: Path) -> DemoRun:
    result = label_uploads(choose_uploads(scan(drawn_data), out / "no photographs"), built, out)
    assert (result.delivery.failed, result.delivery.errors) == (0, [])
    demo.write_results(
        out,
        result.entries,
        DemoInputs("", "", 0, "drawn pictures", "Drawn pictures: the accuracy says nothing."),
        built,
    )
    return result


@pytest.fixture
def entries(result: DemoRun) -> list[Entry]:
    return result.entries


def test_every_upload_has_a_row_and_a_tag_that_agree(entries: list[Entry]) -> None:
    assert len(entries) == 36
    for entry in entries:
        assert entry.tag == (entry.label if entry.status == "LABELLED" else entry.status)


def test_pictures_get_labels_and_other_objects_a_reason(entries: list[Entry]) -> None:
    assert {entry.reason for entry in entries if entry.true is None} == {"NOT_AN_IMAGE", "EMPTY"}
    pictures = [entry for entry in entries if entry.true not in (None, "other")]
    assert {entry.status for entry in pictures} <= {"LABELLED", "UNSURE", "UNKNOWN"}
    assert sum(entry.status == "LABELLED" for entry in pictures) >= 27  # of 30; 2% of true pictures are UNKNOWN
    assert sum(entry.right is True for entry in pictures) >= 26  # of 30; guessing gives 15


def test_keys_are_as_users_write_them(entries: list[Entry]) -> None:
    keys = [entry.key for entry in entries]
    assert len(set(keys)) == len(keys)
    for piece in (" ", "+", "%", "é", "写真", "🐾", "/"):
        assert any(piece in key for key in keys), piece


def test_the_results_are_written_as_json_and_as_a_page(entries: list[Entry], out: Path) -> None:
    rows = json.loads((out / "labels.json").read_text("utf-8"))
    assert [row["key"] for row in rows] == [entry.key for entry in entries]
    assert set(rows[0]) == {"key", "true", "tag", "status", "label", "confidence", "reason", "right"}
    page = (out / "index.html").read_text("utf-8")
    assert page.count("<li ") == 36
    assert "<h1>Drawn pictures: the accuracy says nothing. " in page


def test_the_nightly_report_is_on_the_same_pictures(result: DemoRun, out: Path) -> None:
    report = json.loads((out / "accuracy/latest/report.json").read_text("utf-8"))
    assert report["figures"]["pictures"] == result.night["scored"] == 30
    assert report["others"]["pictures"] == 4


def test_the_demo_fails_if_an_upload_has_no_result(
    result: DemoRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, *others = result.entries
    assert demo.conclude(result, 1.0, tmp_path) == 0
    lost = replace(result, entries=[replace(first, status="MISSING", tag=None), *others])
    assert demo.conclude(lost, 1.0, tmp_path) == 1
    assert first.key in capsys.readouterr().err
