import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.predictions import read_csv
from labeller.classifier import load_classifier
from labeller.images import decode
from labeller.manifest import Manifest
from local.demo.drawn import draw_dataset
from model_build.__main__ import main
from model_build.config import BuildConfig
from model_build.progress import Stages
from tests.model_build import quick
from tests.model_build.examples import report_schema
from tests.model_build.narrow import load_narrow

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(built: Path) -> dict:
    return json.loads((built / "report.json").read_text("utf-8"))


def test_the_folder_holds_model_manifest_report_and_card_and_nothing_else(built: Path) -> None:
    files = sorted(path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file())
    assert files == [
        "exemplars.json",
        "figures/confusion.svg",
        "figures/roc.svg",
        "index.html",
        "manifest.json",
        "model.onnx",
        "pictures.json",
        "predictions.csv",
        "report.json",
        "suspects.json",
    ]
    assert sorted(path.name for path in built.parent.iterdir()) == ["model"]  # no partial or previous one


def test_the_finished_model_gives_the_confusion_matrix_of_the_report(
    built: Path, drawn_data: Path, report: dict
) -> None:
    classifier = load_classifier(built, threads=1)
    assert classifier.labels == ("day", "night")
    matrix = [[0, 0], [0, 0]]
    for true, label in enumerate(classifier.labels):
        for path in (drawn_data / "test" / label).iterdir():
            pixels = decode(path.read_bytes(), classifier.input_size, 10**8).pixels
            (prediction,) = classifier.predict(pixels[np.newaxis])
            matrix[true][classifier.labels.index(prediction.label)] += 1
    assert matrix == report["confusion"]
    right = matrix[0][0] + matrix[1][1]
    test = report["accuracy"]["test"]["int8"]
    assert (test["images"], test["correct"], test["accuracy"]) == (40, right, right / 40)
    assert right >= 34  # day and night are easy; 20 would be guessing


def test_the_test_predictions_are_kept_for_the_nightly_report(built: Path, drawn_data: Path, report: dict) -> None:
    predictions = read_csv((built / "predictions.csv").read_bytes())
    pictures = {
        (path.parent.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in drawn_data.glob("test/*/*")
    }
    assert set(predictions) == pictures
    assert (
        sum(true == label for (true, _), label in predictions.items()) == report["accuracy"]["test"]["int8"]["correct"]
    )


def test_the_report_has_images_and_seconds(report: dict, drawn_data: Path) -> None:
    assert report["images"]["train"] == {"day": 40, "night": 40}
    *stages, total = report["seconds"]
    assert stages == [
        "data",
        "base",
        "quantize",
        "features",
        "head",
        "calibration",
        "familiarity",
        "export",
        "verify",
        "report",
    ]
    assert report["seconds"][total] == pytest.approx(sum(report["seconds"][stage] for stage in stages), abs=0.05)
    assert report["quantisation"]["images"] == 9  # 0.04 megapixels of 64 x 64
    assert report["accuracy"]["test"]["fp32"]["images"] == 40
    assert report["largest_difference_to_keras"] < 1e-3
    assert report["bytes"]["model.onnx"] < report["bytes"]["same_graph_fp32"]
    assert str(drawn_data) not in json.dumps(report)  # the report holds no local path


def test_the_report_matches_its_schema_exactly(report: dict) -> None:
    report_schema().validate(report)
    for part in (report, report["head"], report["calibration"]["test"]["after"], report["accuracy"]["test"]["fp32"]):
        part["surprise"] = 1
        assert not report_schema().is_valid(report)
        del part["surprise"]


def test_the_simplest_head_within_a_standard_error_is_shipped(report: dict) -> None:
    head = report["head"]
    candidates = {candidate["name"]: candidate for candidate in head["candidates"]}
    assert list(candidates) == ["average", "maximum", "Dense 32"]
    lowest = min(candidate["validation"]["log_loss"] for candidate in candidates.values())
    for candidate in candidates.values():
        assert candidate["excess"] == pytest.approx(candidate["validation"]["log_loss"] - lowest, abs=2e-5)
    equal = [name for name, candidate in candidates.items() if candidate["excess"] <= candidate["excess_error"]]
    assert head["chosen"] == equal[0]
    assert head["parameters"] == (16 + 1) * 2 if equal[0] != "Dense 32" else (16 + 1) * 32 + (32 + 1) * 2
    judged = candidates[head["chosen"]]["validation"]
    assert judged["images"] == 120  # training and validation
    assert report["accuracy"]["validation"]["int8"]["correct"] == judged["correct"]
    assert head["yardstick"]["images"] == 40


def test_the_quantisations_are_compared_and_the_choice_follows_the_rule(report: dict) -> None:
    quantisation = report["quantisation"]
    errors = {candidate["name"]: candidate["error"] for candidate in quantisation["candidates"]}
    assert list(errors) == ["minmax", "percentile", "entropy", "first layer FP32"]
    allowed = [error for name, error in errors.items() if name != "first layer FP32"]
    smallest = min(allowed)
    if errors["first layer FP32"] <= 0.75 * smallest:
        smallest = errors["first layer FP32"]
    assert errors[quantisation["chosen"]] <= 1.05 * smallest


def test_report_and_manifest_agree_on_temperature_and_threshold(built: Path, report: dict) -> None:
    manifest = Manifest.from_file(built / "manifest.json")
    calibration = report["calibration"]
    assert calibration["temperature"] == manifest.temperature
    assert calibration["threshold"]["value"] == manifest.confidence_threshold
    for split, images in (("validation", 120), ("test", 40)):
        for state in ("before", "after"):
            assert sum(point["count"] for point in calibration[split][state]["bins"]) == images
    labelled = calibration["validation"]["labelled"]
    assert not calibration["threshold"]["reached"] or labelled["correct"] >= 0.99 * labelled["images"]
    assert sum(change["images"] for change in calibration["changes"]) == 40  # a copy of each validation picture


def test_all_mistakes_are_listed_the_most_confident_first(report: dict, drawn_data: Path) -> None:
    mistakes = report["mistakes"]
    assert len(mistakes) == 40 - report["accuracy"]["test"]["int8"]["correct"]
    assert [mistake["confidence"] for mistake in mistakes] == sorted(
        (mistake["confidence"] for mistake in mistakes), reverse=True
    )
    for mistake in mistakes:
        assert (drawn_data / mistake["path"]).is_file()
        assert mistake["true"] == Path(mistake["path"]).parent.name != mistake["predicted"]


def test_the_same_settings_give_the_same_model_byte_by_byte(built: Path, config: BuildConfig, tmp_path: Path) -> None:
    from model_build.build import build

    again = build(replace(config, out=tmp_path / "model", cache=tmp_path / "cache"), load_narrow)
    assert (again / "model.onnx").read_bytes() == (built / "model.onnx").read_bytes()
    one, other = (Manifest.from_file(folder / "manifest.json") for folder in (built, again))
    assert (one.temperature, one.confidence_threshold) == (other.temperature, other.confidence_threshold)


def test_other_test_pictures_give_the_same_model_and_manifest_byte_by_byte(
    built: Path, report: dict, config: BuildConfig, drawn_data: Path, tmp_path: Path
) -> None:
    from model_build.build import build

    data = copy_of(drawn_data, tmp_path / "data")
    shutil.rmtree(data / "test")
    (draw_dataset(tmp_path / "others", {"test": 20}, seed=99) / "test").rename(data / "test")
    other = build(replace(config, data=data, out=copy_of(built, tmp_path / "model")), load_narrow)
    for name in ("model.onnx", "manifest.json"):
        assert (other / name).read_bytes() == (built / name).read_bytes()
    second = json.loads((other / "report.json").read_text("utf-8"))
    # What was compared on the way to the model is the same too, figure by figure.
    timed = {"milliseconds": 0, "seconds": 0}
    for part in ("quantisation", "head"):
        one, two = ([{**row, **timed} for row in each[part]["candidates"]] for each in (report, second))
        assert one == two
    assert second["calibration"]["threshold"] == report["calibration"]["threshold"]
    # What describes the test pictures differs.
    assert second["key"] != report["key"]
    assert second["data_sha256"] != report["data_sha256"]
    assert second["previous"]["model_version"] == report["model_version"]
    assert second["previous"]["reason"] == "they have no test picture in common"
    assert "previous" not in report


def test_the_manifest_has_the_origin(built: Path, report: dict) -> None:
    manifest = Manifest.from_file(built / "manifest.json")
    assert manifest.build["weights"] == "random"
    assert re.fullmatch("vgg16-[0-9a-f]{12}", manifest.model_version)
    assert manifest.model_version == report["model_version"]


def copy_of(data: Path, place: Path) -> Path:
    return Path(shutil.copytree(data, place))


def test_unreadable_images_are_left_out_and_listed(config: BuildConfig, drawn_data: Path, tmp_path: Path) -> None:
    from model_build.build import build

    data = copy_of(drawn_data, tmp_path / "data")
    (data / "train/day/000.jpg").write_text("no picture")
    (data / "test/night/001.jpg").write_bytes(b"")
    out = build(replace(config, data=data, out=tmp_path / "model", heads=quick.HEADS[:1]), load_narrow)
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert {name: reason.split(":")[0] for name, reason in report["unreadable"].items()} == {
        "train/day/000.jpg": "NOT_AN_IMAGE",
        "test/night/001.jpg": "EMPTY",
    }
    assert report["accuracy"]["train"]["int8"]["images"] == 119
    assert report["accuracy"]["test"]["int8"]["images"] == 39


def test_a_failed_build_leaves_the_previous_model_unchanged(config: BuildConfig, built: Path, tmp_path: Path) -> None:
    from model_build.build import build
    from model_build.verify import VerificationError

    out = copy_of(built, tmp_path / "model")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(VerificationError, match="differ by up to"):
        build(replace(config, out=out, heads=quick.HEADS[:1], graph_tolerance=-1.0), load_narrow)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_glance_network_that_quantisation_breaks_is_left_out(
    config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is small and sees little, and nobody asked for it: the thorough network answers alone."""
    from model_build import build as stages
    from model_build.quantize import QuantisationError

    def broken(*_: object) -> None:
        raise QuantisationError("the INT8 network's features differ from FP32's by 31%")

    monkeypatch.setattr(stages, "load_frozen", lambda *_: None)
    monkeypatch.setattr(stages, "search_from", broken)
    build = stages.Build(replace(config, image_size=128, speedup=2.0), tmp_path, Stages(12))
    build.work.mkdir()
    rest: Any = [object()] * 4

    assert stages.learn_glance(build, rest[0], load_narrow, *rest) is None
    assert "none: the INT8 network's features differ from FP32's by 31%" in capsys.readouterr().out


def test_a_missing_data_folder_is_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "nothing"), "--weights", "random", "--out", str(tmp_path / "m")]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"error: no folder {tmp_path}/nothing: it does not exist.")
    assert "Traceback" not in error


def test_missing_weights_are_reported(drawn_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(drawn_data), "--weights", str(tmp_path / "w.h5"), "--out", str(tmp_path / "m")]
    assert main(arguments) == 1
    assert f"error: no weight file at {tmp_path}/w.h5" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
