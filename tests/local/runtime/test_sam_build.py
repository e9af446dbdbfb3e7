from __future__ import annotations

from pathlib import Path

import pytest

from local.runtime.sam_build import NotBuilt, merge_layers, read_build

TEMPLATE = """
Resources:
  LibrariesLayer:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: ../../build/layers/libraries}
  ModelLayer:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: ../../build/layers/model}
  ClassifyFunction:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.13
      CodeUri: ClassifyFunction
      Layers: [!Ref LibrariesLayer, !Ref ModelLayer]
"""


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A small output of `sam build`."""
    directory = tmp_path / ".aws-sam" / "build"
    write(directory / "template.yaml", TEMPLATE)
    write(directory / "ClassifyFunction" / "classify" / "app.py")
    write(tmp_path / "build/layers/libraries/python/numpy.py")
    write(tmp_path / "build/layers/model/model/model.onnx")
    return directory


def test_a_build_names_code_and_layers_in_the_functions_order(build: Path) -> None:
    built = read_build(build)
    assert built.runtime == "python3.13"
    assert (built.task_root / "classify" / "app.py").is_file()
    assert [layer.name for layer in built.layers] == ["libraries", "model"]
    assert (built.layers[0] / "python" / "numpy.py").is_file()


def test_a_build_says_what_its_layers_are_filled_for(build: Path, tmp_path: Path) -> None:
    assert read_build(build).layers_for is None
    write(tmp_path / "build/layers/architecture", "arm64\n")
    assert read_build(build).layers_for == "arm64"


def test_a_missing_build_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotBuilt, match="run `make layer build` first") as caught:
        read_build(tmp_path)
    assert caught.value.exit_code == 3


def test_an_empty_layer_says_what_to_run(build: Path, tmp_path: Path) -> None:
    (tmp_path / "build/layers/model/model/model.onnx").unlink()
    (tmp_path / "build/layers/model/model").rmdir()
    with pytest.raises(NotBuilt, match="missing or empty: run `make layer build`"):
        read_build(build)


def test_layers_are_merged_and_later_ones_win(tmp_path: Path) -> None:
    write(tmp_path / "one/python/both.py", "one")
    write(tmp_path / "one/python/first.py", "one")
    write(tmp_path / "two/python/both.py", "two")
    write(tmp_path / "two/model/model.onnx", "two")
    write(tmp_path / "opt/left/over.txt")
    opt = merge_layers((tmp_path / "one", tmp_path / "two"), tmp_path / "opt")
    files = {str(path.relative_to(opt)): path.read_text() for path in opt.rglob("*") if path.is_file()}
    assert files == {"python/both.py": "two", "python/first.py": "one", "model/model.onnx": "two"}
    assert (tmp_path / "one/python/both.py").read_text() == "one"  # the layers themselves are untouched
