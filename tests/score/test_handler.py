"""Whole nights on moto. The colour network is right on red and blue; pictures under the wrong label are mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from jsonschema import Draft202012Validator

from labeller.classifier import Classifier
from labeller.images import Reason, Unreadable
from labeller.inference import unreadable
from labeller.manifest import ModelError
from labeller.observability import metrics
from labeller.results import Prediction, Result, Status
from labeller.settings import SettingsError
from labeller.storage import Storage
from score import app
from score.notify import add_metrics, console_link
from score.testset import InvalidTestSet, find_test_set
from tests.evaluation.test_report_page import many_labels
from tests.score.conftest import BUCKET, NIGHT, Service
from tests.support import (
    BLUE,
    GREEN,
    GREY,
    RED,
    ROOT,
    YELLOW,
    Crowd,
    Printed,
    encoded,
    plain,
    write_familiar_model,
    write_model,
)

Read = Callable[[], Printed]


# ---- the objects of a night ---------------------------------------------------------------------------------


def test_a_night_writes_a_page_a_report_and_predictions(service: Service) -> None:
    service.add_pictures(red=3, blue=2)
    detail = service.invoke()
    run = detail["run"]
    assert set(service.objects()) == {
        "accuracy/index.html",
        *(f"accuracy/{folder}/{name}" for folder in (NIGHT, "latest") for name in ("index.html", "report.json")),
        *(f"accuracy/{folder}/predictions.csv" for folder in (NIGHT, "latest")),
        f"accuracy/{NIGHT}/runs/{run}/report.json",
        f"accuracy/{NIGHT}/runs/{run}/predictions.csv",
    }
    objects = service.objects()
    for name in ("index.html", "report.json", "predictions.csv"):
        assert objects[f"accuracy/{NIGHT}/{name}"] == objects[f"accuracy/latest/{name}"]
    for name in ("report.json", "predictions.csv"):
        assert objects[f"accuracy/{NIGHT}/{name}"] == objects[f"accuracy/{NIGHT}/runs/{run}/{name}"]
    types = {
        name: service.s3.head_object(Bucket=BUCKET, Key=f"accuracy/latest/{name}")["ContentType"]
        for name in ("index.html", "report.json", "predictions.csv")
    }
    assert types == {
        "index.html": "text/html; charset=utf-8",
        "report.json": "application/json",
        "predictions.csv": "text/csv; charset=utf-8",
    }


def test_the_report_has_the_models_answers(service: Service) -> None:
    service.add_pictures(red=3, blue=2)
    service.add("red/really blue.png", encoded(plain(BLUE)))
    service.add("blue/grey.png", encoded(plain(GREY)))  # 0.5 for both labels: red, the first, and UNSURE
    service.invoke()
    report = service.report()
    Draft202012Validator(json.loads((ROOT / "docs/report.schema.json").read_text("utf-8"))).validate(report)
    assert report["model"]["version"] == "colour-1"
    assert report["figures"]["confusion"] == [[3, 1], [1, 2]]
    assert (report["figures"]["correct"], report["figures"]["pictures"]) == (5, 7)
    assert report["figures"]["unsure"] == 1
    assert report["figures"]["accuracy_when_sure"] == pytest.approx(5 / 6, abs=1e-6)
    assert report["testset"] == {
        "bucket": BUCKET,
        "prefix": "testset/",
        "pictures": 7,
        "ignored": 0,
        "per_label": {"red": 4, "blue": 3},
    }
    answers = {row["key"]: row["predicted"] for row in service.predictions()}
    assert answers["red/really blue.png"] == "blue"
    assert list(answers) == sorted(answers)


def test_the_page_shows_the_mistakes_with_their_pictures(service: Service) -> None:
    service.add_pictures()
    service.add("red/really blue.png", encoded(plain(BLUE)))
    service.invoke()
    page = service.read(f"{NIGHT}/index.html").decode()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "red/really blue.png" in page


def test_pictures_have_the_limits_of_uploads(service: Service) -> None:
    service.add_pictures()
    service.add("red/pixels.png", encoded(plain(RED, 1001, 1000)))
    service.add("red/bytes.png", encoded(plain(RED)) + b"\0" * 200_001)
    service.add("red/text.png", b"no picture")
    service.add("red/empty.png", b"")
    detail = service.invoke()
    assert (detail["verdict"], detail["scored"], detail["unscored"]) == ("INCOMPLETE", 5, 4)
    causes = {example["key"]: example["reason"].partition(":")[0] for example in service.report()["unscored_examples"]}
    assert causes == {
        "red/pixels.png": "TOO_MANY_PIXELS",
        "red/bytes.png": "TOO_LARGE",
        "red/text.png": "NOT_AN_IMAGE",
        "red/empty.png": "EMPTY",
    }


# ---- the test set -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "no test set"),
        (["red/"], "no test set"),
        (["stray.png", "red/.DS_Store"], "no test set"),
        (["red/a.png", "green/b.png"], "'green', which the model does not know; it knows 'red', 'blue'"),
    ],
)
def test_an_unusable_test_set_is_a_clear_error_and_a_metric(
    service: Service, printed: Read, names: list[str], words: str
) -> None:
    for name in names:
        service.add(name, encoded(plain(RED)))
    with pytest.raises(InvalidTestSet, match=words):
        service.invoke()
    assert printed().metrics == {"TestSetInvalid": 1}
    assert service.objects() == {}


def test_a_label_folder_that_a_mac_has_sent_is_the_models_label() -> None:
    test_set = find_test_set("b", ["testset/cafe\u0301/a.png"], ["caf\u00e9"])  # é as two characters, and as one
    assert test_set.per_label == {"caf\u00e9": 1}
    assert test_set.examples[0].key == "testset/cafe\u0301/a.png"


def test_stray_and_hidden_files_are_ignored_and_counted(service: Service) -> None:
    service.add_pictures()
    service.add("README.txt", b"about this test set")
    service.add("red/.DS_Store", b"\0")
    service.add("red/more/.DS_Store", b"\0")
    service.add("red/.thumbs/small.png", encoded(plain(BLUE)))
    service.add(".trash/deleted.png", encoded(plain(BLUE)))
    service.add("/no label.png", encoded(plain(RED)))  # testset//no label.png
    assert service.invoke()["verdict"] != "INCOMPLETE"
    assert service.report()["testset"]["ignored"] == 6
    assert service.report()["testset"]["pictures"] == 5


# ---- time ---------------------------------------------------------------------------------------------------


def test_pictures_that_time_did_not_suffice_for_are_reported(service: Service) -> None:
    service.add_pictures(3, 2)
    detail = service.invoke(seconds=5)  # less than is reserved for the report
    assert detail["verdict"] == "INCOMPLETE"
    assert detail["headline"] == "Incomplete: none of 5 test pictures could be scored"
    report = service.report()
    assert report["figures"] is None
    assert {example["reason"] for example in report["unscored_examples"]} == {
        "DEADLINE: there was no time left to score it"
    }
    assert "INCOMPLETE" in service.read(f"{NIGHT}/index.html").decode()


@pytest.mark.parametrize(("seconds", "scored"), [(206.5, 0), (207.5, 2)])
def test_scoring_leaves_time_for_its_last_picture_the_rows_and_the_report(
    service: Service, seconds: float, scored: int
) -> None:
    # 200 s before the end scoring stops, and a picture takes up to 7 s.
    service.add_pictures(1, 1)
    assert service.invoke(seconds=seconds)["scored"] == scored


@pytest.mark.parametrize(("seconds", "complete"), [(170.0, False), (171.0, True)])
def test_reading_the_rows_leaves_time_for_the_report(service: Service, seconds: float, complete: bool) -> None:
    service.add_pictures(1, 1)
    for number in range(2):
        service.upload(f"{number}.jpg", "red", 0.99, "2026-11-23T12:00:00+00:00")
    service.invoke(seconds=seconds)
    uploads = service.report()["uploads"]
    assert (uploads["complete"], uploads["total"]) == (complete, 2 if complete else 1)


def test_a_report_lists_a_hundred_pictures_without_an_answer_and_counts_all(service: Service) -> None:
    for number in range(101):
        service.add(f"red/{number}.png", b"")
    assert service.invoke(seconds=5)["unscored"] == 101  # not even begun
    assert len(service.report()["unscored_examples"]) == 100
    assert service.report()["unscored_causes"] == {"DEADLINE": 101}


# ---- processors ---------------------------------------------------------------------------------------------


def test_a_picture_is_scored_on_one_processor(service: Service) -> None:
    options = app.get_job().classifier.thorough._session.get_session_options()
    assert options.intra_op_num_threads == 1  # 0 would be one for each core


@pytest.mark.parametrize("processors", [1, 3])
def test_as_many_pictures_are_scored_at_once_as_there_are_processors(
    service: Service, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setenv("ONNX_THREADS", str(processors))
    service.add_pictures(3, 3)
    crowd, predict = Crowd(processors), Classifier.predict
    app.get_job()  # its self-check is no picture
    monkeypatch.setattr(Classifier, "predict", lambda *arguments: crowd(predict, *arguments))
    assert service.invoke()["scored"] == 6
    assert crowd.most == service.report()["speed"]["threads"] == processors


def test_as_many_pictures_are_downloaded_at_once_as_fit_into_memory(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_IMAGE_BYTES", "133000000")  # three of them are 400 MB
    service.add_pictures(3, 3)
    crowd, fetch = Crowd(3), Storage.fetch
    monkeypatch.setattr(Storage, "fetch", lambda *arguments: crowd(fetch, *arguments))
    assert service.invoke()["scored"] == 6
    assert crowd.most == 3


# ---- comparisons --------------------------------------------------------------------------------------------


def test_the_first_night_is_compared_with_the_build(service: Service) -> None:
    service.add_pictures()
    assert service.invoke()["verdict"] == "SAME"
    report = service.report()
    assert report["last_night"] is None
    build = report["build"]
    assert (build["same_pictures"], build["pictures_before"], build["correct_before"]) == (False, 100, 98)


def test_the_builds_own_answers_are_used_if_they_are_known(service: Service, tmp_path: Any) -> None:
    service.add_pictures()
    service.invoke()
    (service.model / "predictions.csv").write_bytes(service.read(f"{NIGHT}/predictions.csv"))
    app.get_job.cache_clear()
    service.invoke()
    assert service.report()["build"]["same_pictures"] is True
    assert service.report()["build"]["pictures_now"] == 5


def test_the_page_shows_pictures_with_another_label_than_the_build(service: Service) -> None:
    service.add_pictures(red=3, blue=2)
    service.invoke()
    answers = service.read(f"{NIGHT}/predictions.csv").replace(b"red/0.png,red,red", b"red/0.png,red,blue")
    (service.model / "predictions.csv").write_bytes(answers)
    app.get_job.cache_clear()
    service.invoke()
    assert [flip["key"] for flip in service.report()["build"]["flips"]] == ["red/0.png"]
    assert service.report()["build"]["newly_right"] == 1
    assert service.read(f"{NIGHT}/index.html").decode().count("data:image/jpeg;base64,") == 1


def test_a_comparison_with_other_pictures_does_not_count(service: Service) -> None:
    service.add("red/other.png", encoded(plain((200, 0, 0))))
    service.invoke("2026-11-20")
    (service.model / "predictions.csv").write_bytes(service.read("2026-11-20/predictions.csv"))
    service.s3.delete_object(Bucket=BUCKET, Key="testset/red/other.png")
    service.add_pictures(red=1, blue=1)
    app.get_job.cache_clear()
    service.invoke()
    report = service.report()
    assert report["build"]["other_pictures"] is True
    assert report["last_night"]["other_pictures"] is True
    assert report["verdict"] == "FIRST"


def test_a_model_without_build_figures_is_compared_with_nights_only(service: Service) -> None:
    write_model(service.model)
    app.get_job.cache_clear()
    service.add_pictures()
    assert service.invoke()["verdict"] == "FIRST"
    assert service.invoke("2026-11-25")["verdict"] == "SAME"


def test_another_model_is_compared_picture_by_picture(service: Service) -> None:
    service.add_pictures(red=12, blue=3)
    service.invoke("2026-11-23")
    write_model(service.model, labels=("blue", "red"), model_version="colour-2")  # swapped: all wrong
    app.get_job.cache_clear()
    detail = service.invoke("2026-11-24")
    assert detail["verdict"] == "WORSE"
    report = service.report()
    night = report["last_night"]
    assert (night["against"], night["model_version"]) == ("the night of 2026-11-23", "colour-1")
    assert (night["newly_wrong"], night["newly_right"], night["flipped"]) == (15, 0, 15)
    assert night["p_value"] == pytest.approx(2 / 2**15, abs=1e-6)
    assert service.read(f"{NIGHT}/index.html").decode().count("data:image/jpeg;base64,") == 2 * 15


def test_a_picture_that_was_replaced_is_not_compared(service: Service) -> None:
    service.add_pictures(3, 2)
    service.invoke("2026-11-23")
    service.add("red/0.png", encoded(plain(BLUE)))
    service.invoke("2026-11-24")
    assert service.report()["last_night"]["pictures_now"] == 4


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema_version": 99}'])
def test_a_damaged_report_of_an_earlier_night_is_left_out(service: Service, damage: bytes) -> None:
    service.add_pictures()
    service.invoke("2026-11-22")
    service.invoke("2026-11-23")
    service.s3.put_object(Bucket=BUCKET, Key="accuracy/2026-11-23/report.json", Body=damage)
    assert service.invoke("2026-11-24")["verdict"] == "SAME"
    assert service.report()["last_night"]["against"] == "the night of 2026-11-22"


def test_an_upload_with_a_status_of_a_newer_version_is_left_out(service: Service) -> None:
    service.add_pictures(1, 1)
    for key in ("a.jpg", "b.jpg"):
        service.upload(key, "red", 0.99, "2026-11-23T12:00:00+00:00")
    service.table.update_item(
        Key={"object": "uploads/b.jpg", "version": "null"},
        UpdateExpression="SET #status = :newer",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":newer": "DOUBTFUL"},
    )
    service.invoke()
    assert service.report()["uploads"]["total"] == 1


def test_pictures_of_none_of_the_labels_are_scored_apart(service: Service, printed: Read) -> None:
    write_familiar_model(service.model)
    service.add_pictures(red=3, blue=2)
    service.add("other/yellow.png", encoded(plain(YELLOW)))  # UNKNOWN
    service.add("other/grey.png", encoded(plain(GREY)))  # UNSURE: familiarity 0.498, confidence 0.5
    service.add("other/fire engine.png", encoded(plain(RED)))  # the model cannot know
    detail = service.invoke()
    report = service.report()
    Draft202012Validator(json.loads((ROOT / "docs/report.schema.json").read_text("utf-8"))).validate(report)
    assert (report["figures"]["pictures"], report["figures"]["correct"]) == (5, 5)
    others = report["others"]
    assert (others["pictures"], others["labelled"], others["unsure"], others["unknown"]) == (3, 1, 1, 1)
    assert report["model"]["familiarity_threshold"] == 0.25
    assert detail["others_unlabelled"] == pytest.approx(2 / 3, abs=1e-6)
    output = printed()
    assert [line["OthersUnlabelled"] for line in output.lines if "OthersUnlabelled" in line] == [[pytest.approx(2 / 3)]]
    assert output.units["OthersUnlabelled"] == "None"  # a pure number
    rows = {row["key"]: (row["true"], row["status"], row["right"]) for row in service.predictions()}
    assert rows["other/yellow.png"] == ("other", "UNKNOWN", "no")
    page = service.read(f"{NIGHT}/index.html").decode()
    assert "other/fire engine.png" in page
    assert "other/yellow.png" not in page
    assert page.count("data:image/jpeg;base64,") == 1


def test_the_builds_answers_for_pictures_of_none_of_the_labels_do_not_count(service: Service) -> None:
    service.add_pictures()
    service.add("other/green.png", encoded(plain(GREEN)))
    service.invoke()
    (service.model / "predictions.csv").write_bytes(service.read(f"{NIGHT}/predictions.csv"))
    app.get_job.cache_clear()
    service.invoke()
    build = service.report()["build"]
    assert (build["pictures_before"], build["correct_before"], build["pictures_now"]) == (5, 5, 5)


def test_a_model_with_the_label_other_is_scored_on_it() -> None:
    test_set = find_test_set("b", ["testset/other/a.png", "testset/cats/b.png"], ["cats", "other"])
    assert test_set.per_label == {"cats": 1, "other": 1}
    with pytest.raises(InvalidTestSet, match="no test set"):
        find_test_set("b", ["testset/other/a.png"], ["cats", "dogs"])


@pytest.mark.parametrize("name", ["2026-13-01", "notes", "2026-11-23 (copy)"])
def test_other_folders_are_left_alone(service: Service, name: str) -> None:
    service.add_pictures()
    service.s3.put_object(Bucket=BUCKET, Key=f"accuracy/{name}/report.json", Body=b"mine")
    assert service.invoke()["verdict"] == "SAME"
    assert name not in service.read("index.html").decode()


def test_a_night_that_scored_nothing_is_skipped_in_comparisons(service: Service) -> None:
    service.add_pictures(red=12, blue=3)
    service.invoke("2026-11-22")
    assert service.invoke("2026-11-23", seconds=5)["scored"] == 0
    write_model(service.model, labels=("blue", "red"), model_version="colour-2")  # swapped: all wrong
    app.get_job.cache_clear()
    assert service.invoke("2026-11-24")["verdict"] == "WORSE"
    assert service.report()["last_night"]["against"] == "the night of 2026-11-22"


def test_without_earlier_predictions_the_counts_are_compared(service: Service) -> None:
    service.add_pictures()
    run = service.invoke("2026-11-23")["run"]
    service.s3.delete_object(Bucket=BUCKET, Key=f"accuracy/2026-11-23/runs/{run}/predictions.csv")
    service.invoke("2026-11-24")
    assert service.report()["last_night"]["same_pictures"] is False


def test_the_trend_has_at_most_thirty_nights_in_order(service: Service) -> None:
    service.add_pictures(1, 1)
    service.invoke("2026-10-01")
    report = service.read("2026-10-01/report.json").decode()
    for day in range(2, 32):
        text = report.replace('"date": "2026-10-01"', f'"date": "2026-10-{day:02}"')
        service.s3.put_object(Bucket=BUCKET, Key=f"accuracy/2026-10-{day:02}/report.json", Body=text.encode())
    service.invoke("2026-11-01")
    page = service.read("2026-11-01/index.html").decode()
    assert page.count("<circle") == 30
    index = service.read("index.html").decode()
    nights = [index.index(f"2026-{day}/index.html") for day in ("11-01", "10-31", "10-02", "10-01")]
    assert nights == sorted(nights)  # all nights, the newest first


def test_a_night_without_a_report_is_a_gap_in_the_trend(service: Service) -> None:
    service.add_pictures(1, 1)
    for night in ("2026-11-20", "2026-11-21", "2026-11-24"):
        service.invoke(night)
    page = service.read("2026-11-24/index.html").decode()
    (line,) = re.findall(r'<path class="line" d="([^"]+)"', page)
    assert re.sub(r"[\d. ]", "", line) == "MLM"
    assert '<th scope="row">11-22</th><td>–</td>' in page


def test_repeating_an_old_night_compares_it_with_the_night_before_and_keeps_latest(service: Service) -> None:
    service.add_pictures()
    for night in ("2026-11-21", "2026-11-22", "2026-11-23"):
        service.invoke(night)
    latest = service.read("latest/report.json")
    service.invoke("2026-11-22")
    assert service.report("2026-11-22")["last_night"]["against"] == "the night of 2026-11-21"
    assert service.read("latest/report.json") == latest
    assert "2026-11-23/index.html" in service.read("index.html").decode()


# ---- uploads ------------------------------------------------------------------------------------------------


def test_the_uploads_of_the_day_before_are_counted(service: Service) -> None:
    service.add_pictures()
    for number in range(3):
        service.upload(f"{number}.jpg", "red", 0.99, "2026-11-23T12:00:00+00:00")
    service.upload("unsure.jpg", "blue", 0.6, "2026-11-23T23:59:59+00:00")
    service.put_row("text.jpg", unreadable(Unreadable(Reason.NOT_AN_IMAGE, "text"), "m"), "2026-11-23T00:00:00+00:00")
    service.upload("too late.jpg", "red", 0.99, "2026-11-24T00:00:00+00:00")
    service.upload("too early.jpg", "red", 0.99, "2026-11-22T23:59:59+00:00")
    service.invoke()
    uploads = service.report()["uploads"]
    assert (uploads["day"], uploads["complete"]) == ("2026-11-23", True)
    assert (uploads["labels"], uploads["unsure"], uploads["unreadable"]) == ({"red": 3, "blue": 0}, 1, 1)
    assert uploads["histogram"] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert uploads["stability_index"] > 0


def unknown(familiarity: float = 0.001) -> Result:
    prediction = Prediction("red", 0.99, {"red": 0.99, "blue": 0.01}, familiarity)
    return Result(Status.UNKNOWN, "m", prediction, 1, 1, "PNG")


def test_a_jump_of_the_share_of_unknown_uploads_rings_an_alarm(service: Service, printed: Read) -> None:
    write_familiar_model(service.model)
    service.add_pictures(1, 1)
    for number in range(20):
        service.upload(f"{number}.jpg", "red", 0.99, "2026-11-22T12:00:00+00:00")
        service.upload(f"{number + 20}.jpg", "red", 0.99, "2026-11-23T12:00:00+00:00")
    for number in range(20):
        service.put_row(f"sofa {number}.jpg", unknown(), "2026-11-23T12:00:00+00:00")
    service.invoke("2026-11-23")
    calm = printed()
    service.invoke("2026-11-24")
    alarmed = printed()
    assert "UnknownRose" not in calm.metrics
    assert alarmed.metrics["UnknownRose"] == 1
    assert [line["UnknownShare"] for line in calm.lines + alarmed.lines if "UnknownShare" in line] == [[0.0], [0.5]]
    uploads = service.report()["uploads"]
    assert (uploads["unknown"], uploads["total"]) == (20, 40)
    assert (uploads["unknown_before"], uploads["total_before"]) == (0, 20)
    details = service.announced()
    assert [(one["detail"]["unknown_share"], one["detail"]["unknown_rose"]) for one in details] == [
        (0.0, False),
        (0.5, True),
    ]
    assert (
        "50.0% of 40 uploads are UNKNOWN, after 0.0% in the days before, so the alarm fires."
        in (service.mails()[1]["Message"])
    )


def test_a_days_rows_are_read_from_all_partitions(service: Service) -> None:
    service.add_pictures(1, 1)
    for number in range(60):
        service.upload(f"{number}.jpg", "red", 0.99, "2026-11-23T12:00:00+00:00")
    service.invoke()
    assert service.report()["uploads"]["labels"]["red"] == 60


# ---- announcements ------------------------------------------------------------------------------------------


def test_a_night_adds_its_metrics_and_one_recall_for_each_label(service: Service, printed: Read) -> None:
    service.add_pictures(red=3, blue=2)
    service.add("red/really blue.png", encoded(plain(BLUE)))
    service.add("blue/text.png", b"text")
    for number in range(3):
        service.upload(f"{number}.jpg", "red", 0.99, "2026-11-23T12:00:00+00:00")
    service.invoke()
    output = printed()
    recalls = {line["label"]: line["Recall"] for line in output.lines if "Recall" in line}
    assert recalls == {"red": [0.75], "blue": [1.0]}
    assert output.metrics == {"Scored": 6, "Unscored": 1}
    assert {name: output.units[name] for name in ("Accuracy", "PSI", "Recall")} == dict.fromkeys(
        ("Accuracy", "PSI", "Recall"), "None"
    )
    (accuracy,), (index,) = ([line[name] for line in output.lines if name in line] for name in ("Accuracy", "PSI"))
    assert accuracy == [pytest.approx(5 / 6)]
    assert index == [pytest.approx(service.report()["uploads"]["stability_index"], abs=1e-6)]


def test_without_an_answer_there_is_no_accuracy_so_the_alarm_fires(service: Service, printed: Read) -> None:
    service.add("red/text.png", b"text")
    service.invoke()
    output = printed()
    assert output.metrics == {"Scored": 0, "Unscored": 1}
    assert not [line for line in output.lines if "Accuracy" in line]


@pytest.mark.parametrize(("labels", "recalls"), [(50, 49), (51, 0)])
def test_a_model_of_more_than_fifty_labels_has_no_recall_metrics(printed: Read, labels: int, recalls: int) -> None:
    report, _ = many_labels(labels)  # the first label has no pictures, and so no recall
    try:
        add_metrics(report)
        assert set(metrics.metric_set) >= {"Accuracy", "Scored"}
    finally:
        metrics.clear_metrics()
    assert len([line for line in printed().lines if "Recall" in line]) == recalls


def test_labels_of_any_script_have_metrics_of_their_own(service: Service, printed: Read) -> None:
    write_model(service.model, labels=("猫", "犬"))
    app.get_job.cache_clear()
    service.add("猫/a.png", encoded(plain(RED)))
    service.add("犬/b.png", encoded(plain(BLUE)))
    service.invoke()
    labels = {line["label"] for line in printed().lines if "Recall" in line}
    assert labels == {"\\u732b", "\\u72ac"}  # CloudWatch accepts only ASCII


def test_the_event_and_the_mail_have_the_verdict_and_link_the_report(service: Service) -> None:
    service.add_pictures()
    detail = service.invoke()
    Draft202012Validator(json.loads((ROOT / "docs/accuracy-reported.schema.json").read_text("utf-8"))).validate(detail)
    (event,) = service.announced()
    assert (event["source"], event["detail-type"], event["detail"]) == ("image-labeller", "AccuracyReported", detail)
    (mail,) = service.mails()
    assert mail["Subject"] == "As good as in its build: 5 of 5 test pictures are right (100.0%) (2026-11-24)"
    assert (
        f"https://eu-central-1.console.aws.amazon.com/s3/object/{BUCKET}?region=eu-central-1&prefix=" in mail["Message"]
    )
    assert f"s3://{BUCKET}/accuracy/{NIGHT}/index.html" in mail["Message"]


def test_the_mail_has_the_figures_for_readers_without_the_page_the_worst_label_first(service: Service) -> None:
    service.add_pictures(3, 1)
    service.add("blue/really red.png", encoded(plain(RED)))
    service.invoke()
    message = service.mails()[0]["Message"]
    assert "4 of 5 are right: 80.0%, 95% interval 37.6% to 96.4%.\n" in message  # Wilson's, as R's binom gives it
    assert "0 are UNSURE and 0 UNKNOWN. Right by label:\n   50.0%  of blue\n  100.0%  of red\n" in message


def test_by_choice_the_mail_links_the_report_for_readers_without_a_login(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORT_LINK", "presigned")
    app.get_job.cache_clear()
    service.add_pictures()
    service.invoke()
    message = service.mails()[0]["Message"]
    (link,) = re.findall(r"^(https://\S+X-Amz-Signature=\S+)$", message, re.MULTILINE)
    address = urlsplit(link)
    parameters = parse_qs(address.query)
    assert address.path.endswith(f"/accuracy/{NIGHT}/index.html")
    assert parameters["X-Amz-Expires"] == ["43200"]
    assert parameters["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert "It works for at most 12 hours" in message
    assert requests.get(link, timeout=10).content == service.read(f"{NIGHT}/index.html")  # moto answers; no socket
    assert "console.aws.amazon.com" in message  # afterwards, and for those who may log in


def test_without_that_choice_the_mail_gives_nobody_access(service: Service) -> None:
    service.add_pictures()
    service.invoke()
    assert "X-Amz-Signature" not in service.mails()[0]["Message"]


@pytest.mark.parametrize(
    ("region", "address"),
    [
        ("ca-central-1", "https://ca-central-1.console.aws.amazon.com/s3/object/b?region=ca-central-1&prefix=a%2Fk"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn/s3/object/b?region=cn-north-1&prefix=a%2Fk"),
        (
            "us-gov-west-1",
            "https://us-gov-west-1.console.amazonaws-us-gov.com/s3/object/b?region=us-gov-west-1&prefix=a%2Fk",
        ),
    ],
)
def test_the_link_leads_to_the_console_of_the_regions_partition(region: str, address: str) -> None:
    assert console_link(region, "b", "a/k") == address


@pytest.mark.parametrize(
    ("subject", "sent"),
    [("x" * 99, "x" * 99), ("x" * 100, "x" * 96 + "..."), ("two\nlines,  ü", "two lines, ?")],
    ids=["99", "100", "two lines"],
)
def test_a_mails_subject_is_a_line_of_ascii_with_less_than_a_hundred_characters(
    service: Service, subject: str, sent: str
) -> None:
    app.get_job().reports.mail(subject, "text")
    assert [mail["Subject"] for mail in service.mails()] == [sent]


def test_an_accuracy_below_the_minimum_is_announced_everywhere(service: Service) -> None:
    service.add_pictures(1, 1)
    service.add("red/really blue.png", encoded(plain(BLUE)))
    detail = service.invoke()
    assert detail["below_minimum"] is True
    sentence = "The accuracy is below the minimum of 90.0%, so the alarm fires."
    assert sentence in service.mails()[0]["Message"]
    assert sentence in service.read("latest/index.html").decode()


# ---- the date of a night, and settings ----------------------------------------------------------------------


def test_a_night_has_the_date_of_its_time_zone(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIME_ZONE", "Asia/Tokyo")
    service.add_pictures()
    assert service.invoke(scheduled_time="2026-11-24T18:00:00Z")["date"] == "2026-11-25"  # 03:00 there


def test_an_event_without_a_time_is_now(service: Service) -> None:
    service.add_pictures()
    assert service.invoke(scheduled_time=None)["date"]


def test_an_invalid_time_is_refused(service: Service) -> None:
    service.add_pictures()
    with pytest.raises(ValueError, match="isoformat"):
        service.invoke(scheduled_time="tonight")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REPORTS_BUCKET", ""),
        ("REPORT_TOPIC", ""),
        ("TIME_ZONE", "Mars/Olympus"),
        ("MINIMUM_ACCURACY", "95%"),
        ("MINIMUM_ACCURACY", "95"),
        ("MINIMUM_ACCURACY", "nan"),
    ],
)
def test_a_wrong_setting_is_named(service: Service, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        service.invoke()


def test_without_a_model_nothing_is_published(service: Service) -> None:
    service.add_pictures()
    (service.model / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        service.invoke()
    assert service.objects() == {}
