"""The demo's own path on a small real model: uploads, S3's notifications, the real handler, what is read back."""

import json
from pathlib import Path

import pytest

from local.demo import __main__ as demo
from local.demo.inputs import Choice
from model_build.data.dataset import scan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(built: Path, drawn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[demo.Entry], Path]:
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "OUT", out)
        entries, delivery, _, _ = demo.label(demo.choose_uploads(scan(drawn_data)), built)
        assert (delivery.failed, delivery.errors) == (0, ())
        demo.write_results(entries, Choice("", "", 0, "drawn pictures"), built)
    return entries, out


def test_every_upload_has_a_row_and_a_tag_that_agree(results: tuple[list[demo.Entry], Path]) -> None:
    entries, _ = results
    assert len(entries) == 32
    for entry in entries:
        assert entry.tag == (entry.label if entry.status == "LABELLED" else entry.status)


def test_pictures_get_labels_and_what_is_none_gets_a_reason(results: tuple[list[demo.Entry], Path]) -> None:
    entries, _ = results
    assert {entry.reason for entry in entries if entry.true is None} == {"NOT_AN_IMAGE", "EMPTY"}
    pictures = [entry for entry in entries if entry.true is not None]
    assert {entry.status for entry in pictures} == {"LABELLED"}
    assert sum(entry.right is True for entry in pictures) >= 26  # of 30; guessing gives 15


def test_keys_are_as_users_make_them(results: tuple[list[demo.Entry], Path]) -> None:
    keys = [entry.key for entry in results[0]]
    assert len(set(keys)) == len(keys)
    for piece in (" ", "+", "%", "é", "写真", "🐾", "/"):
        assert any(piece in key for key in keys), piece


def test_the_results_are_written_as_json_and_as_a_page(results: tuple[list[demo.Entry], Path]) -> None:
    entries, out = results
    rows = json.loads((out / "labels.json").read_text("utf-8"))
    assert [row["key"] for row in rows] == [entry.key for entry in entries]
    assert set(rows[0]) == {"key", "true", "tag", "status", "label", "confidence", "reason", "right"}
    assert (out / "index.html").read_text("utf-8").count("<li ") == 32


def test_the_demo_fails_when_an_upload_was_lost(
    results: tuple[list[demo.Entry], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from dataclasses import replace

    from local.aws.poller import Delivery

    entries, _ = results
    fine = Delivery(4, 33, 0, (), True)
    assert demo.conclude(entries, fine, 1.0, 1.0, tmp_path) == 0
    lost = [replace(entries[0], status="MISSING", tag=None), *entries[1:]]
    assert demo.conclude(lost, fine, 1.0, 1.0, tmp_path) == 1
    assert entries[0].key in capsys.readouterr().err
