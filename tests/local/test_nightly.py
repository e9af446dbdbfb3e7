"""`make nightly` on a small real model: the deployed template, a test set, the handler in its own process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local import nightly

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nights(built: Path, drawn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """Two runs of the same night, one after the other."""
    out = tmp_path_factory.mktemp("nightly")
    arguments = ["--data", str(drawn_data), "--model", str(built), "--out", str(out)]
    return out, [nightly.main(arguments), nightly.main(arguments)]


def test_the_report_is_fetched_and_says_what_the_build_said(nights: tuple[Path, list[int]], built: Path) -> None:
    out, statuses = nights
    assert statuses == [0, 0]
    report = json.loads((out / "accuracy/latest/report.json").read_text("utf-8"))
    test = json.loads((built / "report.json").read_text("utf-8"))["accuracy"]["test"]["int8"]
    assert (report["figures"]["correct"], report["figures"]["pictures"]) == (test["correct"], test["images"])
    assert report["verdict"] == "SAME"
    assert report["build"]["flipped"] == 0  # picture by picture, the build's own answers
    assert "<h1>As good as in its build" in (out / "accuracy/latest/index.html").read_text("utf-8")


def test_reports_of_earlier_runs_are_uploaded_for_the_next_one(nights: tuple[Path, list[int]]) -> None:
    out, _ = nights
    (night,) = [path for path in (out / "accuracy").iterdir() if path.is_dir() and path.name != "latest"]
    assert len(list((night / "runs").iterdir())) == 2


def test_the_log_is_that_of_the_score_function(nights: tuple[Path, list[int]]) -> None:
    lines = (nights[0] / "score.log").read_text("utf-8").splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert {line["service"] for line in logged} == {"score"}
    assert [line["Accuracy"] for line in logged if "Accuracy" in line]


def test_labels_that_the_model_does_not_know_are_reported(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.support import RED, encoded, plain

    (tmp_path / "test/unicorns").mkdir(parents=True)
    (tmp_path / "test/unicorns/a.png").write_bytes(encoded(plain(RED)))
    assert nightly.main(["--data", str(tmp_path), "--model", str(built), "--out", str(tmp_path / "out")]) == 1
    assert "InvalidTestSet: s3://" in (error := capsys.readouterr().err)
    assert "'unicorns', which the model does not know" in error


def test_without_a_model_nothing_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nightly.main(["--model", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "manifest.json is missing" in capsys.readouterr().err
