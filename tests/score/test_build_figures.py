"""The figures of the model's own build, with which a first night is compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.comparison import Reference
from score.build_figures import read_build_figures
from tests.support import Printed, write_model

BUILD = {"accuracy": {"test": {"int8": {"correct": 98, "images": 100}}}}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"true,predicted,sha256\nred,red\n"])
def test_without_readable_predictions_the_manifests_figures_count(
    tmp_path: Path, content: bytes, printed: Callable[[], Printed]
) -> None:
    write_model(tmp_path, build=BUILD)
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)

    assert read_build_figures(tmp_path) == Reference("its own build", "colour-1", 98, 100, {})
    (warning,) = printed().logs
    assert (warning["level"], warning["file"]) == ("WARNING", str(path))


def test_predictions_for_labels_of_the_model_count_and_others_do_not(tmp_path: Path) -> None:
    write_model(tmp_path, build=BUILD)
    rows = "true,predicted,sha256\nred,red,1\nred,blue,2\nblue,blue,3\nother,red,4\n"
    (tmp_path / "predictions.csv").write_text(rows)

    answers = {("red", "1"): "red", ("red", "2"): "blue", ("blue", "3"): "blue"}
    assert read_build_figures(tmp_path) == Reference("its own build", "colour-1", 2, 3, answers)


@pytest.mark.parametrize("build", [{}, {"accuracy": None}, {"accuracy": {"test": {"int8": {"correct": 98}}}}])
def test_a_model_without_figures_has_none(tmp_path: Path, build: dict[str, object]) -> None:
    write_model(tmp_path, build=build)

    assert read_build_figures(tmp_path) is None
