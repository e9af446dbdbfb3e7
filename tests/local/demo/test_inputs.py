"""The demo's inputs: what the user names, what can be downloaded, what lies beside the checkout, at last drawn ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local import photographs
from local.demo import inputs
from local.demo.inputs import DemoInputs
from model_build.config import KERAS_WEIGHTS

MIRROR = "https://mirror.example/cats.zip"
ARCHIVE = photographs.ARCHIVE


class Network:
    """What can be reached, and what was asked for."""

    def __init__(self) -> None:
        self.up = False
        self.reachable: set[str] = set()
        self.probed: list[str] = []
        self.fetched: list[str] = []


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    """No network until `up` is set; a working folder and a Keras cache of the test's own."""
    state = Network()

    def unreachable(address: str) -> str | None:
        state.probed.append(address)
        return None if state.up or address in state.reachable else "no such host"

    def fetch(address: str) -> Path:
        state.fetched.append(address)
        return photographs.FOLDER

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(photographs, "unreachable", unreachable)
    monkeypatch.setattr(photographs, "fetch", fetch)
    monkeypatch.setattr(inputs, "_keras_downloads", lambda: True)
    return state


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    (folder / "cats-and-dogs").mkdir(parents=True)
    (folder / "vgg16").mkdir()
    (folder / "vgg16/vgg16_imagenet_notop.h5").write_bytes(b"weights")
    return folder


def choose(shared: Path, data: Path | None = None, weights: str | None = None, size: int | None = None) -> DemoInputs:
    return inputs.find_inputs(data, weights, size, shared, shared.parent / "drawn", None)


def test_named_inputs_are_taken_without_asking_the_network(network: Network, shared: Path, tmp_path: Path) -> None:
    chosen = choose(shared, tmp_path / "mine", "my.h5", 96)
    assert (chosen.data, chosen.weights, chosen.image_size) == (str(tmp_path / "mine"), "my.h5", 96)
    assert (network.probed, network.fetched) == ([], [])


def test_with_a_network_the_public_photographs_and_keras_weights_are_downloaded(network: Network, shared: Path) -> None:
    network.up = True
    chosen = choose(shared)
    assert (chosen.data, chosen.weights, chosen.image_size, chosen.caveat) == ("photographs", "imagenet", 128, "")
    assert network.probed == [ARCHIVE, KERAS_WEIGHTS]
    assert network.fetched == [ARCHIVE]


def test_what_was_downloaded_before_is_used_without_a_network(network: Network, shared: Path) -> None:
    Path("photographs").mkdir()
    (Path("photographs") / photographs.SOURCE).write_text("kept")
    inputs.keras_cache().parent.mkdir(parents=True)
    inputs.keras_cache().write_bytes(b"kept")
    chosen = choose(shared)
    assert (chosen.data, chosen.weights) == ("photographs", "imagenet")
    assert network.probed == []


def test_without_a_network_one_line_says_so_and_the_folder_beside_the_checkout_is_taken(
    network: Network, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = choose(shared)
    assert (chosen.data, chosen.weights) == (
        str(shared / "cats-and-dogs"),
        str(shared / "vgg16/vgg16_imagenet_notop.h5"),
    )
    assert capsys.readouterr().out == f"Not downloaded, because {ARCHIVE} cannot be reached: no such host.\n"
    assert chosen.description == (
        f"the photographs in {shared}/cats-and-dogs, with the ImageNet weights in {chosen.weights}, at 128 px"
    )


def test_each_source_is_reached_or_not_by_itself(network: Network, shared: Path) -> None:
    network.reachable = {KERAS_WEIGHTS}
    chosen = choose(shared)
    assert (chosen.data, chosen.weights) == (str(shared / "cats-and-dogs"), "imagenet")


def test_a_mirror_that_the_user_names_is_used_or_the_demo_ends(network: Network, shared: Path) -> None:
    named = inputs.find_inputs
    with pytest.raises(photographs.DownloadError, match=f"{MIRROR} cannot be reached: no such host"):
        named(None, None, None, shared, shared.parent / "drawn", MIRROR)
    network.up = True
    named(None, None, None, shared, shared.parent / "drawn", MIRROR)
    assert network.fetched == [MIRROR]


def test_only_the_weights_are_asked_for_if_the_user_names_pictures(network: Network, shared: Path) -> None:
    network.up = True
    chosen = choose(shared, data=Path("mine"))
    assert (chosen.data, chosen.weights) == ("mine", "imagenet")
    assert (network.probed, network.fetched) == ([KERAS_WEIGHTS], [])


def test_weights_that_keras_cannot_load_are_replaced_by_those_beside_the_checkout(
    network: Network, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.up = True
    monkeypatch.setattr(inputs, "_keras_downloads", lambda: False)
    assert choose(shared).weights == str(shared / "vgg16/vgg16_imagenet_notop.h5")


def test_without_anything_pictures_are_drawn_weights_are_random_and_the_caveat_says_that_accuracy_says_nothing(
    network: Network, tmp_path: Path
) -> None:
    chosen = choose(tmp_path / "nonexistent")
    assert (chosen.weights, chosen.image_size) == ("random", 64)
    assert sorted(path.name for path in (Path(chosen.data) / "train").iterdir()) == ["day", "night"]
    assert chosen.caveat == "Drawn pictures and random weights: the accuracy says nothing."


@pytest.mark.parametrize(
    ("data", "weights", "caveat"),
    [
        ("mine", "random", "Random weights: the accuracy says nothing."),
        (None, "my.h5", "Drawn pictures: the accuracy says nothing."),
    ],
)
def test_the_caveat_names_what_is_not_real(
    network: Network, tmp_path: Path, data: str | None, weights: str, caveat: str
) -> None:
    chosen = choose(tmp_path / "nonexistent", Path(data) if data else None, weights)
    assert chosen.caveat == caveat


def test_a_download_that_breaks_off_ends_the_demo_with_its_reason(
    network: Network, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.up = True
    monkeypatch.setattr(photographs, "fetch", _broken_off)
    with pytest.raises(photographs.DownloadError, match="12 MB are kept"):
        choose(shared)


def _broken_off(_address: str) -> Path:
    raise photographs.DownloadError("12 MB are kept")


def test_the_inputs_are_saved_for_the_bench(tmp_path: Path) -> None:
    inputs.save_inputs(tmp_path / "demo/inputs.json", DemoInputs("photographs", "imagenet", 128, "text"))
    saved = json.loads((tmp_path / "demo/inputs.json").read_text())["inputs"]
    assert (saved["data"], saved["weights"], saved["image_size"]) == ("photographs", "imagenet", 128)
