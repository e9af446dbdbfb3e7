from pathlib import Path

import pytest

from local.demo import inputs


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    (folder / "cats-and-dogs").mkdir(parents=True)
    (folder / "vgg16").mkdir()
    (folder / "vgg16/vgg16_standin_notop.h5").write_bytes(b"weights")
    return folder


@pytest.fixture
def imagenet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether Keras has, or can download, the ImageNet weights."""
    monkeypatch.setattr(inputs, "_imagenet_to_be_had", lambda: request.param)


@pytest.mark.parametrize("imagenet", [False], indirect=True)
def test_what_the_caller_names_is_taken_and_nothing_is_looked_for(imagenet: None, shared: Path, tmp_path: Path) -> None:
    taken = inputs.choose(tmp_path / "mine", "my.h5", 96, shared, tmp_path / "drawn")
    assert (taken.data, taken.weights, taken.image_size) == (str(tmp_path / "mine"), "my.h5", 96)


@pytest.mark.parametrize("imagenet", [True], indirect=True)
def test_imagenet_weights_come_before_those_of_the_shared_folder(imagenet: None, shared: Path, tmp_path: Path) -> None:
    taken = inputs.choose(None, None, None, shared, tmp_path / "drawn")
    assert (taken.data, taken.weights, taken.image_size) == (str(shared / "cats-and-dogs"), "imagenet", 224)


@pytest.mark.parametrize("imagenet", [False], indirect=True)
def test_the_shared_stand_in_comes_next_at_the_size_it_is_for(imagenet: None, shared: Path, tmp_path: Path) -> None:
    taken = inputs.choose(None, None, None, shared, tmp_path / "drawn")
    assert Path(taken.weights) == shared / "vgg16/vgg16_standin_notop.h5"
    assert taken.image_size == 128
    assert "stand-in" in taken.said


@pytest.mark.parametrize("imagenet", [False], indirect=True)
def test_with_nothing_there_pictures_are_drawn_and_weights_random_and_it_says_so(
    imagenet: None, tmp_path: Path
) -> None:
    taken = inputs.choose(None, None, None, tmp_path / "nonexistent", tmp_path / "drawn")
    assert (taken.weights, taken.image_size) == ("random", 64)
    assert sorted(path.name for path in (Path(taken.data) / "train").iterdir()) == ["day", "night"]
    assert "drawn pictures" in taken.said
    assert "the accuracy says only that the path works" in taken.said


@pytest.mark.parametrize("imagenet", [False], indirect=True)
def test_a_choice_is_remembered_for_the_same_question_while_its_inputs_are_there(
    imagenet: None, shared: Path, tmp_path: Path
) -> None:
    note, asked = tmp_path / "build/inputs.json", {"data": None, "shared": str(shared)}
    assert inputs.remembered(note, asked) is None
    taken = inputs.choose(None, None, None, shared, tmp_path / "drawn")
    inputs.remember(note, asked, taken)
    assert inputs.remembered(note, asked) == taken
    assert inputs.remembered(note, {**asked, "data": "other"}) is None
    (shared / "vgg16/vgg16_standin_notop.h5").unlink()
    assert inputs.remembered(note, asked) is None


@pytest.mark.parametrize(
    "note",
    [
        '{"asked": {}, "choice": {"data": 1',
        "[]",
        '{"choice": {"data": ".", "weights": "random", "image_size": 64, "said": ""}}',
    ],
)
def test_a_damaged_note_is_no_memory(tmp_path: Path, note: str) -> None:
    (tmp_path / "choice.json").write_text(note)
    assert inputs.remembered(tmp_path / "choice.json", {}) is None
