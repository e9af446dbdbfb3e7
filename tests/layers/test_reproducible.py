"""Layers of the same wheels have the same bytes, whatever the machine, the user and the time."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

from layers.packing import fill_libraries
from layers.reproducible import drop_notes, tree_digest
from layers.wheels import Target
from tests import needs
from tests.support import ROOT

SAM_PYTHON = ROOT / ".venv-sam" / "bin" / "python"


def make_wheel(folder: Path) -> Path:
    """A wheel of a distribution "thing" 1.0 with a module, tests and a console script."""
    content = {
        "thing/__init__.py": "def main(): ...\n",
        "thing/tests/test_thing.py": "",
        "thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "thing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "thing-1.0.dist-info/entry_points.txt": "[console_scripts]\nthing = thing:main\n",
    }
    rows = [f"{name},sha256={digest(text)},{len(text)}" for name, text in content.items()]
    content["thing-1.0.dist-info/RECORD"] = "\n".join([*rows, "thing-1.0.dist-info/RECORD,,"]) + "\n"
    wheel = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for name, text in content.items():
            file.writestr(name, text)
    return wheel


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def pip_without_an_index(requirements: Path, folder: Path, _target: Target) -> None:
    """The real pip unpacks a local wheel, with bin/, INSTALLER, REQUESTED and direct_url.json."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*command, "--target", str(folder), requirements.read_text()], check=True)


def pip_an_hour_ago(requirements: Path, folder: Path, target: Target) -> None:
    pip_without_an_index(requirements, folder, target)
    for path in folder.rglob("*"):
        status = path.stat()
        os.utime(path, (status.st_atime - 3600, status.st_mtime - 3600))


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two layers of the same wheel, from two folders, under two umasks, made at two times. Tests do not change them."""
    built = []
    for name, mask, install in (("a", 0o022, pip_an_hour_ago), ("b/deeper", 0o077, pip_without_an_index)):
        folder = tmp_path_factory.mktemp("layers") / name
        folder.mkdir(parents=True)
        (folder / "layer.txt").write_text(str(make_wheel(folder)))
        before = os.umask(mask)
        try:
            fill_libraries(folder / "layers", folder / "layer.txt", install)
        finally:
            os.umask(before)
        built.append(folder / "layers" / "libraries")
    return built[0], built[1]


def test_a_layer_built_twice_has_the_same_bytes_modes_and_times(layers: tuple[Path, Path]) -> None:
    first, second = layers
    assert tree_digest(first) == tree_digest(second)


def test_the_distribution_is_still_found_and_its_record_lists_the_files_present(layers: tuple[Path, Path]) -> None:
    (thing,) = distributions(path=[str(layers[0] / "python")])
    assert (thing.name, thing.version) == ("thing", "1.0")
    listed = {str(file) for file in thing.files or []}
    present = {path.relative_to(layers[0] / "python").as_posix() for path in layers[0].rglob("*") if path.is_file()}
    assert listed == present
    assert not any(name.endswith(("INSTALLER", "REQUESTED", "direct_url.json", "bin/thing")) for name in present)


@pytest.mark.parametrize("change", ["content", "name", "mode", "time", "added"])
def test_the_digest_shows_every_change(layers: tuple[Path, Path], tmp_path: Path, change: str) -> None:
    layer, before = Path(shutil.copytree(layers[0], tmp_path / "layer")), tree_digest(layers[0])
    assert tree_digest(layer) == before
    module = layer / "python/thing/__init__.py"
    if change == "content":
        status = module.stat()
        module.write_text("def main(): pass\n")
        os.utime(module, (status.st_atime, status.st_mtime))
    elif change == "name":
        module.rename(module.with_name("other.py"))
    elif change == "mode":
        module.chmod(0o755)
    elif change == "time":
        os.utime(module, (1e9, 1e9))
    else:
        (layer / "python/more.py").touch()
    assert tree_digest(layer) != before


def test_a_distribution_without_a_record_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "odd-1.dist-info").mkdir()
    (tmp_path / "odd-1.dist-info" / "METADATA").write_text("Name: odd")
    drop_notes(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["METADATA"]


# As `sam deploy` uploads a layer: the folder's digest names the object in S3, its zip is the content.
SAM_ZIPS = """
import hashlib, json, sys
from samcli.lib.package.utils import make_zip_with_lambda_permissions, zip_folder
uploads = []
for folder in sys.argv[1:]:
    with zip_folder(folder, zip_method=make_zip_with_lambda_permissions) as (file, name):
        uploads.append([name, hashlib.sha256(open(file, "rb").read()).hexdigest()])
print(json.dumps(uploads))
"""


@pytest.mark.slow
def test_sam_uploads_a_layer_built_twice_under_one_name_with_the_same_bytes(
    layers: tuple[Path, Path], tmp_path: Path
) -> None:
    if not SAM_PYTHON.exists():
        needs.skip("layers as SAM uploads them", "`make test` installs the SAM CLI")
    changed = tmp_path / "changed"
    shutil.copytree(layers[0], changed)
    (changed / "python/thing/__init__.py").write_text("def main(): pass\n")
    command = [SAM_PYTHON, "-c", SAM_ZIPS, *layers, changed]
    first, second, other = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert first == second
    assert other[0] != first[0]
