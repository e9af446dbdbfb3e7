from __future__ import annotations

from pathlib import Path

import pytest

from local.demo import inputs


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    (folder / "cats-and-dogs").mkdir(parents=True)
    (folder / "vgg16").mkdir()
    (folder / "vgg16/vgg16_imagenet_notop.h5").write_bytes(b"weights")
    return folder


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras neither has nor can download the ImageNet weights."""
    monkeypatch.setattr(inputs, "_keras_has_imagenet", lambda: False)


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking Keras fails the test."""
    monkeypatch.setattr(inputs, "_keras_has_imagenet", lambda: pytest.fail("Keras was asked for weights"))


@pytest.mark.usefixtures("no_search")
def test_named_inputs_are_taken_without_a_search(shared: Path, tmp_path: Path) -> None:
    chosen = inputs.find_inputs(tmp_path / "mine", "my.h5", 96, shared, tmp_path / "drawn")
    assert (chosen.data, chosen.weights, chosen.image_size) == (str(tmp_path / "mine"), "my.h5", 96)


@pytest.mark.usefixtures("no_search")
def test_the_shared_imagenet_weights_are_taken_at_128_pixels_without_a_download(shared: Path, tmp_path: Path) -> None:
    chosen = inputs.find_inputs(None, None, None, shared, tmp_path / "drawn")
    weights = shared / "vgg16/vgg16_imagenet_notop.h5"
    assert (chosen.data, chosen.weights, chosen.image_size) == (str(shared / "cats-and-dogs"), str(weights), 128)
    assert "ImageNet weights" in chosen.description


def test_without_them_keras_weights_are_taken_at_their_own_size(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_keras_has_imagenet", lambda: True)
    (shared / "vgg16/vgg16_imagenet_notop.h5").unlink()
    chosen = inputs.find_inputs(None, None, None, shared, tmp_path / "drawn")
    assert (chosen.weights, chosen.image_size) == ("imagenet", 224)


@pytest.mark.usefixtures("no_download")
def test_without_anything_pictures_are_drawn_and_weights_are_random_and_the_description_says_so(tmp_path: Path) -> None:
    chosen = inputs.find_inputs(None, None, None, tmp_path / "nonexistent", tmp_path / "drawn")
    assert (chosen.weights, chosen.image_size) == ("random", 64)
    assert sorted(path.name for path in (Path(chosen.data) / "train").iterdir()) == ["day", "night"]
    assert "drawn pictures" in chosen.description
    assert "the accuracy only shows that the system works" in chosen.description


@pytest.mark.usefixtures("no_search")
def test_saved_inputs_are_used_for_the_same_request_while_they_exist(shared: Path, tmp_path: Path) -> None:
    path, request = tmp_path / "build/inputs.json", {"data": None, "shared": str(shared)}
    assert inputs.load_inputs(path, request) is None
    chosen = inputs.find_inputs(None, None, None, shared, tmp_path / "drawn")
    inputs.save_inputs(path, request, chosen)
    assert inputs.load_inputs(path, request) == chosen
    assert inputs.load_inputs(path, {**request, "data": "other"}) is None
    (shared / "vgg16/vgg16_imagenet_notop.h5").unlink()
    assert inputs.load_inputs(path, request) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"requested": {}, "inputs": {"data": 1',
        "[]",
        '{"inputs": {"data": ".", "weights": "random", "image_size": 64, "description": ""}}',
    ],
)
def test_a_damaged_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "inputs.json").write_text(text)
    assert inputs.load_inputs(tmp_path / "inputs.json", {}) is None
