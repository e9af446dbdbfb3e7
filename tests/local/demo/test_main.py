"""The demo's choices, messages and exit status, without a build and without a deployment. test_demo runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.aws.handler_process import HandlerFailed
from local.aws.poller import Delivery
from local.demo import __main__ as demo
from local.demo.contact_sheet import Entry
from local.demo.inputs import DemoInputs
from local.demo.labelling import DemoRun
from local.photographs import DownloadError
from model_build.atomic_folder import OutputError
from model_build.config import BuildConfig, SettingsError
from model_build.data.dataset import DataError, Dataset
from tests.local.demo.test_contact_sheet import entry
from tests.support import write_model

NOT_A_PICTURE = entry(
    key="empty.png", true=None, label=None, status="UNREADABLE", confidence=None, reason="EMPTY", tag="UNREADABLE"
)
RIGHT, WRONG = entry(key="right.jpg"), entry(key="wrong.jpg", true="dogs")
UNSURE = entry(key="unsure.jpg", status="UNSURE", confidence=0.51, tag="UNSURE")
LOST = entry(key="lost.jpg", label=None, status="MISSING", confidence=None, tag=None)
INPUTS = DemoInputs("pictures", "random", 64, "drawn pictures")
DATA = Dataset(Path("pictures"), ("cats", "dogs"), {"train": (), "validation": (), "test": ()})


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def reported_model(folder: Path, **report: object) -> Path:
    """A model with these members in the report of its build."""
    write_model(folder)
    (folder / "report.json").write_text(json.dumps(report), "utf-8")
    return folder


def run_of(*entries: Entry, **changes: Any) -> DemoRun:
    return replace(DemoRun([*entries], Delivery(), 2.0, {"headline": "2 of 3 are right"}), **changes)


# ---- the summary ------------------------------------------------------------------------------------------


def test_the_table_has_a_line_for_each_upload_and_marks_wrong_labels(capsys: pytest.CaptureFixture[str]) -> None:
    demo.print_table([RIGHT, WRONG, UNSURE, NOT_A_PICTURE, LOST])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [
        ["true", "tag", "row", "confidence", "key"],
        ["cats", "cats", "cats", "0.9870", "right.jpg"],
        ["dogs", "cats", "cats", "0.9870", "x", "wrong.jpg"],
        ["cats", "UNSURE", "UNSURE", "0.5100", "unsure.jpg"],
        ["-", "UNREADABLE", "EMPTY", "empty.png"],
        ["cats", "-", "MISSING", "lost.jpg"],
    ]


def test_the_summary_counts_right_wrong_and_unsure_and_names_the_next_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert demo.conclude(run_of(RIGHT, WRONG, UNSURE, NOT_A_PICTURE), 31.4, demo.MODELS[0]) == 0
    printed = capsys.readouterr().out
    assert "1 of 3 pictures labelled right, 1 wrong, 1 UNSURE (confidence below the model's threshold)." in printed
    assert "1 uploads that are not pictures are UNREADABLE, with the reason." in printed
    assert "The classify handler took 2.0 s: 2 objects a second" in printed
    assert "The nightly report on the same 3 pictures:\n2 of 3 are right." in printed
    assert "Done in 31 s. Next:" in printed
    assert "The demo's model is in" not in printed


def test_the_summary_says_what_became_of_pictures_of_none_of_the_labels(capsys: pytest.CaptureFixture[str]) -> None:
    stranger = replace(UNSURE, true="other", status="UNKNOWN", tag="UNKNOWN")
    others = [stranger, stranger, replace(stranger, status="UNSURE"), replace(RIGHT, true="other")]
    assert demo.conclude(run_of(RIGHT, replace(stranger, true="cats"), *others), 1.0, demo.MODELS[0]) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 pictures labelled right, 0 wrong, 1 UNKNOWN (familiarity below the model's threshold).\n" in printed
    assert "3 of 4 pictures of none of the labels got no label (2 UNKNOWN, 1 UNSURE), 1 got one.\n" in printed
    assert "The nightly report on the same 2 pictures:" in printed


def test_a_model_beside_build_model_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.conclude(run_of(RIGHT), 1.0, demo.MODELS[1]) == 0
    expected = "The demo's model is in build/demo/model. `make layer` packs build/model, which is another model."
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (run_of(RIGHT, LOST), "['lost.jpg']; failed deliveries: 0"),
        (run_of(RIGHT, replace(RIGHT, tag=None)), "['right.jpg']; failed deliveries: 0"),
        (run_of(RIGHT, replace(UNSURE, status="UNREADABLE")), "['unsure.jpg']; failed deliveries: 0"),  # a picture
        (run_of(RIGHT, replace(NOT_A_PICTURE, status="LABELLED")), "['empty.png']; failed deliveries: 0"),
        (run_of(RIGHT, delivery=Delivery(failed=2, errors=["ValueError: x"])), "[]; failed deliveries: 2 ['ValueErr"),
    ],
    ids=["no row", "no tag", "a picture is unreadable", "a text is labelled", "failed deliveries"],
)
def test_an_upload_without_its_result_fails_the_demo(
    result: DemoRun, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.conclude(result, 1.0, demo.MODELS[0]) == 1
    printed = capsys.readouterr()
    assert f"error: uploads without a label or with the wrong status: {message}" in printed.err
    assert "See build/demo/classify.log" in printed.err
    assert "Done" not in printed.out


# ---- the choice of the model ------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[BuildConfig]:
    """The builds that are started; each succeeds at once."""
    builds: list[BuildConfig] = []

    def run(config: BuildConfig) -> int:
        builds.append(config)
        return 0

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr(demo, "build_fingerprint", lambda config, _: f"{config.weights} {config.image_size}")
    return builds


def test_a_model_that_has_these_inputs_is_used(builds: list[BuildConfig], capsys: pytest.CaptureFixture[str]) -> None:
    reported_model(Path("build/model"), key="another")
    reported_model(Path("build/demo/model"), key="random 64")
    assert demo.model_for(INPUTS, DATA) == Path("build/demo/model")
    assert builds == []
    assert capsys.readouterr().out == "build/demo/model has it already.\n"


@pytest.mark.parametrize(
    ("existing", "folder"), [([], "build/model"), (["build/model"], "build/demo/model"), (["both"], "build/demo/model")]
)
def test_a_model_with_other_inputs_is_never_replaced_in_build_model(
    builds: list[BuildConfig], existing: list[str], folder: str
) -> None:
    for name in ["build/model", "build/demo/model"] if existing == ["both"] else existing:
        reported_model(Path(name), key="another")
    assert demo.model_for(INPUTS, DATA) == Path(folder)
    assert builds == [BuildConfig(Path("pictures"), "random", 64, out=Path(folder)).quick()]


def test_without_a_model_the_demo_ends(builds: list[BuildConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run", lambda _: 1)
    assert demo.model_for(INPUTS, DATA) is None


# ---- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The arguments of each stage; every stage succeeds at once."""
    stages: dict[str, Any] = {}
    accuracy = {"test": {"int8": {"accuracy": 0.9, "images": 10}}}
    model = reported_model(tmp_path / "a model", accuracy=accuracy)

    def stage(name: str, answer: Any) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            stages[name] = arguments
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return run

    for name, answer in {
        "find_inputs": INPUTS,
        "scan": DATA,
        "model_for": model,
        "choose_uploads": [],
        "label_uploads": run_of(RIGHT, NOT_A_PICTURE),
    }.items():
        monkeypatch.setattr(demo, name, stage(name, answer))
    stages["replace"] = lambda name, answer: monkeypatch.setattr(demo, name, stage(name, answer))
    return stages


def test_every_option_reaches_the_choice_of_inputs(stages: dict[str, Any]) -> None:
    Path("mine").mkdir()
    Path("mine.h5").write_bytes(b"weights")
    options = ["--data", "mine", "--weights", "mine.h5", "--image-size", "96", "--shared", "elsewhere"]
    options += ["--mirror", "https://mirror.example/cats.zip"]
    assert demo.main(options) == 0
    drawn = demo.OUT / "drawn-pictures"
    assert stages["find_inputs"] == (
        Path("mine"),
        "mine.h5",
        96,
        Path("elsewhere"),
        drawn,
        "https://mirror.example/cats.zip",
    )
    assert stages["scan"] == (Path("pictures"),)


def test_without_options_the_inputs_are_the_public_ones_or_those_in_the_shared_folder(stages: dict[str, Any]) -> None:
    assert demo.main([]) == 0
    assert stages["find_inputs"] == (None, None, None, Path("../shared"), demo.OUT / "drawn-pictures", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", "7"], "error: --image-size (make: IMAGE_SIZE) is 7"),
        (["--image-size", "0"], "error: --image-size (make: IMAGE_SIZE) is 0"),
        (["--weights", "/nope.h5"], "error: no weight file at /nope.h5"),
        (["--data", "/nope"], "error: no folder /nope"),
    ],
)
def test_what_the_user_names_is_checked_before_anything_is_downloaded(
    stages: dict[str, Any], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stages["replace"]("find_inputs", AssertionError("something is downloaded"))
    assert demo.main(options) == 1
    assert capsys.readouterr().err.startswith(message)


def test_an_interrupted_demo_ends_with_one_word(stages: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    stages["replace"]("find_inputs", KeyboardInterrupt())
    assert demo.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_the_inputs_are_printed_with_their_caveat_which_heads_the_page_too(
    stages: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stages["replace"]("find_inputs", replace(INPUTS, caveat="Drawn pictures: the accuracy says nothing."))
    assert demo.main([]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "The model is built from drawn pictures. Drawn pictures: the accuracy says nothing."
    page = (demo.OUT / "index.html").read_text("utf-8")
    assert "<h1>Drawn pictures: the accuracy says nothing. 1 of 1 pictures labelled right" in page


def test_the_results_are_kept_as_json_and_as_a_page(stages: dict[str, Any]) -> None:
    demo.OUT.mkdir(parents=True)
    assert demo.main([]) == 0
    rows = json.loads((demo.OUT / "labels.json").read_text("utf-8"))
    assert [(row["key"], row["true"], row["right"]) for row in rows] == [
        ("right.jpg", "cats", True),
        ("empty.png", None, None),
    ]
    page = (demo.OUT / "index.html").read_text("utf-8")
    assert "The model is built from drawn pictures." in page
    assert "Model colour-1: 90.0% of 10 test pictures right." in page


@pytest.mark.parametrize(
    ("stage", "failure", "message"),
    [
        ("scan", DataError("pictures has no labels"), "error: pictures has no labels\n"),
        ("find_inputs", DownloadError("cut at 12 MB"), "error: cut at 12 MB\n"),
        ("find_inputs", OutputError("photographs exists"), "error: photographs exists\n"),
        ("model_for", SettingsError("too small"), "error: too small\n"),
        ("label_uploads", OSError(28, "No space left on device"), "error: [Errno 28] No space left on device\n"),
        (
            "label_uploads",
            HandlerFailed("ModelError: broken"),
            "error: the nightly report failed: ModelError: broken. See build/demo/score.log\n",
        ),
        ("model_for", None, ""),  # the build has printed the reason
    ],
)
def test_a_stage_that_fails_ends_the_demo_with_its_reason(
    stages: dict[str, Any],
    stage: str,
    failure: Exception | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stages["replace"](stage, failure)
    assert demo.main([]) == 1
    assert capsys.readouterr().err == message
