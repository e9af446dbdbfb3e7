"""The result of `sam build`: a function's folder, and its layers merged as under /opt."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from local import ROOT
from local.aws.stack import FUNCTION
from ops.cli import CommandError
from ops.template import read_template

BUILD = ROOT / ".aws-sam" / "build"


class NotBuilt(CommandError):
    """`sam build` or `make layer` has not been run."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class SamBuild:
    """A built function."""

    template: Path  # the template that `sam build` writes, which points to the built folders
    runtime: str  # such as "python3.13"
    task_root: Path
    layers: tuple[Path, ...]  # in the order in which Lambda unpacks them
    layers_for: str | None  # the architecture that `make layer` noted beside them; None without a note


def read_build(directory: Path = BUILD, function_id: str = FUNCTION) -> SamBuild:
    """Read the build of `function_id` from `directory`. Raises NotBuilt."""
    template = directory / "template.yaml"
    if not template.is_file():
        raise NotBuilt(f"{os.path.relpath(template)} is missing: run `make layer build` first")
    resources = read_template(template)["Resources"]
    if function_id not in resources:
        raise NotBuilt(f"{os.path.relpath(template)} has no {function_id}: run `make build` again")
    properties = resources[function_id]["Properties"]
    task_root = directory / properties["CodeUri"]
    if not task_root.is_dir():
        raise NotBuilt(f"{os.path.relpath(task_root)} is missing: run `make build`")
    layers = tuple(directory / resources[layer["Ref"]]["Properties"]["ContentUri"] for layer in properties["Layers"])
    for layer in layers:
        if not layer.is_dir() or not any(layer.iterdir()):
            raise NotBuilt(f"{os.path.relpath(layer)} is missing or empty: run `make layer build`")
    notes = (layer.parent / "architecture" for layer in layers)
    layers_for = next((note.read_text(encoding="utf-8").strip() for note in notes if note.is_file()), None)
    return SamBuild(template, properties["Runtime"], task_root, layers, layers_for)


def merge_layers(layers: tuple[Path, ...], opt: Path) -> Path:
    """Merge `layers` into a new folder `opt`, as Lambda does into /opt: later layers win. Returns `opt`.

    Files are hard links where the file system allows it, to save time and space.
    """
    if opt.exists():
        shutil.rmtree(opt)
    for layer in layers:
        shutil.copytree(layer, opt, copy_function=_link, dirs_exist_ok=True)
    return opt


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
