"""Why a picture got its label, in a night's report. What speaks for red is where the picture is red."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

from evaluation import class_activation
from evaluation.predictions import Scored
from labeller.classifier import load_classifier
from labeller.pipeline import Deadline
from model_build.graph_names import rename
from score import app
from score.scorer import Scorer
from score.testset import Example
from tests.score.conftest import BUCKET, NIGHT, Service
from tests.support import BLUE, GREY, RED, Printed, colour_network, encoded, plain, write_model

Read = Callable[[], Printed]
SHADE = re.compile(r'<img class="shade" alt="([^"]*)" src="data:image/png;base64,([^"]*)">')
CLEAR, DARK = 0, 204  # 0.8 of 255


def mostly_grey(corner: tuple[int, int, int], left: int, top: int) -> bytes:
    """Grey, 64 x 32 pixels, with 24 x 12 in another colour: 3 x 3 of the network's 8 x 8."""
    picture = plain(GREY, 64, 32)
    picture.paste(corner, (left, top, left + 24, top + 12))
    return encoded(picture)


def shades(service: Service) -> list[tuple[str, np.ndarray]]:
    """Words and opacity [h, w] of what the page lays over its pictures, in the page's order."""
    found = []
    for words, content in SHADE.findall(service.read(f"{NIGHT}/index.html").decode()):
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            found.append((words, np.asarray(image.getchannel("A"))))
    return found


def test_a_mistake_shows_what_speaks_for_the_label_that_it_got(service: Service) -> None:
    service.add_pictures()
    service.add("blue/wrong.png", mostly_grey(RED, 40, 0))
    service.add("other/stranger.png", mostly_grey(BLUE, 0, 20))  # of none of the labels, and gets one
    service.invoke()
    (words, mistake), (others_words, other) = shades(service)
    assert (words, others_words) == ("top right speaks most for red", "bottom left speaks most for blue")
    assert mistake.shape == other.shape == (32, 64)  # as the pictures, the longer side 64 pixels
    assert (mistake[4, 56], mistake[4, 8], mistake[28, 8], mistake[28, 56]) == (CLEAR, DARK, DARK, DARK)
    assert (other[28, 8], other[28, 56], other[4, 56], other[4, 8]) == (CLEAR, DARK, DARK, DARK)
    page = service.read(f"{NIGHT}/index.html").decode()
    assert page.count("<summary>Why</summary>") == 2
    assert "Bright: what speaks for red<" in page


def test_only_pictures_that_the_page_shows_are_explained(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    explained: list[str] = []
    explain = Scorer.explain

    def watched(scorer: Scorer, mistakes: Sequence[Scored], deadline: Deadline) -> object:
        explained.extend(mistake.key for mistake in mistakes)
        return explain(scorer, mistakes, deadline)

    monkeypatch.setattr(Scorer, "explain", watched)
    service.add_pictures()
    for number in range(26):
        service.add(f"blue/wrong {number:02}.png", encoded(plain((255 - number, 0, 0))))
    service.invoke()
    assert explained == [f"blue/wrong {number:02}.png" for number in range(24)]  # the most confident ones
    assert len(shades(service)) == 24


def refuse(*_: object) -> None:
    raise AssertionError("a second network is loaded")


def test_the_network_of_uploads_does_not_compute_maps_and_no_other_is_loaded_without_a_mistake(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = load_classifier(service.model, 1).thorough._session.get_outputs()
    assert [output.name for output in outputs] == ["logits"]
    monkeypatch.setattr(class_activation, "open_session", refuse)
    service.add_pictures()
    assert service.invoke()["accuracy"] == 1


# ---- a report without maps ----------------------------------------------------------------------------------


def night_with_a_mistake(service: Service) -> None:
    service.add_pictures()
    service.add("blue/wrong.png", encoded(plain(RED)))
    assert service.invoke()["scored"] == 6
    page = service.read(f"{NIGHT}/index.html").decode()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "Why" not in page


def test_a_model_of_an_older_build_gives_a_report_without_maps(service: Service, printed: Read) -> None:
    network = colour_network((8, 8))
    rename(network, {"head/inputs": "colour", "head/weights": "weights"})
    write_model(service.model, network)
    night_with_a_mistake(service)
    (line,) = [line for line in printed().logs if line["message"].startswith("the report cannot show why")]
    assert line["level"] == "INFO"
    assert "head/inputs" in line["error"]


def test_a_file_that_is_gone_costs_the_maps_alone(service: Service, printed: Read) -> None:
    app.get_job()
    (service.model / "model.onnx").unlink()
    night_with_a_mistake(service)
    (line,) = [line for line in printed().logs if line["message"].startswith("the report cannot show why")]
    assert "model.onnx is missing" in line["error"]


def test_a_map_that_cannot_be_computed_costs_this_map_alone(service: Service, printed: Read) -> None:
    network = colour_network((8, 8))
    rename(network, {"head/weights": "weights"})
    network.graph.initializer.append(numpy_helper.from_array(np.ones((3, 0), np.float32), "head/weights"))
    write_model(service.model, network)
    night_with_a_mistake(service)
    (line,) = [line for line in printed().logs if line["message"] == "the report cannot show why"]
    assert (line["level"], line["key"]) == ("WARNING", "testset/blue/wrong.png")
    assert "IndexError" in line["error"]


def test_a_picture_that_is_replaced_meanwhile_gets_no_map_of_the_other(
    service: Service, printed: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain = Scorer.explain

    def late(*arguments: object) -> object:
        service.add("blue/wrong.png", encoded(plain(BLUE)))
        return explain(*arguments)

    monkeypatch.setattr(Scorer, "explain", late)
    night_with_a_mistake(service)
    (line,) = [line for line in printed().logs if line["message"] == "the report cannot show why"]
    assert "it was replaced after it was scored" in line["error"]


def test_without_time_left_there_are_no_maps(service: Service) -> None:
    job = app.get_job()
    service.add("blue/wrong.png", encoded(plain(RED)))
    scorer = Scorer(BUCKET, job.pictures, job.classifier, job.settings.shared)
    examples = [Example("testset/blue/wrong.png", "blue")]
    mistakes = scorer.score(examples, Deadline.in_seconds(60)).scored
    assert list(scorer.explain(mistakes, Deadline.in_seconds(60))) == ["blue/wrong.png"]
    assert scorer.explain(mistakes, Deadline.in_seconds(60, item=61)) == {}
