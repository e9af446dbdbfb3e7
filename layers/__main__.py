"""Fills the two Lambda layers that template.yaml names, and holds them under Lambda's size limit.

    python -m layers [--architecture arm64] [--model build/model] [--out build/layers]  (make layer)

    build/layers/libraries/python/...                         the libraries, in Lambda at /opt/python
    build/layers/model/model/{model.onnx,manifest.json,...}   the network, in Lambda at /opt/model

The libraries are wheels for Lambda's Linux and Python, pinned with their hashes in requirements/layer.txt.
pip only unpacks them, so this Python will do on any machine: no Docker, no Python 3.13, no compiler.
Each layer is made beside its place and renamed, so that a run that fails leaves the layer of before. Made twice, on
any machine, it has the same bytes, and SAM, which names what it uploads by a digest, ships it only when it changed.
Neither TensorFlow nor anything outside the standard library is imported here.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from layers import bytecode
from layers.bytecode import BytecodeError, runtime_python
from layers.reproducible import NOTES, TIMESTAMP, drop_notes, normalise, tree_digest
from layers.size import SIZE_LIMIT, size_of, size_table
from layers.wheels import PYTHON_VERSION, TARGETS, PackagingError, Target, pip_command, pip_install

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements" / "layer.txt"
MODEL = ROOT / "build" / "model"
MODEL_FILES = ("model.onnx", "manifest.json")
PREDICTIONS_FILE = "predictions.csv"  # goes along where it is: what the nightly report compares itself with
OUT = ROOT / "build" / "layers"

SAMCONFIG = ROOT / "samconfig.toml"
ARCHITECTURE = "x86_64"  # where none is named and none was deployed; template.yaml's default

# What never runs in Lambda, as patterns under python/. bin holds console scripts that name the Python of the
# machine that built the layer; type stubs and C headers are for type checkers and compilers. Package metadata
# (*.dist-info, with the licences) stays: importlib.metadata reads it.
UNUSED = ("bin", "**/tests", "**/__pycache__", "**/*.pyc", "**/*.pyi", "**/*.h", "**/*.pxd", "**/*.a")

Install = Callable[[Path, Path, Target], None]


def deployed_architecture(samconfig: Path = SAMCONFIG) -> str | None:
    """The Architecture that `sam deploy --guided` has kept in samconfig.toml, None if it has not."""
    try:
        content = tomllib.loads(samconfig.read_text("utf-8"))
        kept = str(content["default"]["deploy"]["parameters"]["parameter_overrides"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError):
        return None
    # SAM writes one string, Architecture="arm64" ...; a list or a table of them is valid too.
    found = re.search(r"""\bArchitecture\W+?(x86_64|arm64)\b""", kept)
    return found[1] if found else None


def prune(folder: Path) -> int:
    """Delete what never runs in Lambda from `folder`; returns the bytes freed."""
    before = size_of(folder)
    for pattern in UNUSED:
        for path in list(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return before - size_of(folder)


def fingerprint(requirements: Path, target: Target, compiler: str = "") -> str:
    """SHA-256 over everything that decides what the libraries layer holds; `compiler`: bytecode.version_of."""
    pip_options = pip_command(Path("requirements"), Path("folder"), target)[1:]
    rules = json.dumps([pip_options, UNUSED, NOTES, TIMESTAMP, compiler])
    return hashlib.sha256(requirements.read_bytes() + rules.encode()).hexdigest()


def fill_libraries(
    out: Path,
    requirements: Path = REQUIREMENTS,
    install: Install = pip_install,
    architecture: str = ARCHITECTURE,
    python: Path | None = None,
) -> str:
    """Make `out`/libraries unless it already is what `requirements` says; returns one line to print.

    What it was made of and for lies beside the layer, not in it: all that a layer folder holds is shipped. `python`:
    one of the runtime's version, which compiles the libraries; None leaves that to each cold start.
    """
    out.mkdir(parents=True, exist_ok=True)
    layer, stamp = out / "libraries", out / "libraries.sha256"
    wanted = fingerprint(requirements, TARGETS[architecture], bytecode.version_of(python))
    if layer.is_dir() and stamp.is_file() and stamp.read_text().strip() == wanted:
        return f"libraries: unchanged, {_shown(requirements)} is installed already"
    started = time.monotonic()
    fresh = _fresh_folder(out / "libraries.new")
    install(requirements, fresh / "python", TARGETS[architecture])
    freed = prune(fresh / "python")
    drop_notes(fresh / "python")
    if python is not None:
        bytecode.compile_tree(fresh / "python", python, "/opt/python")
    stamp.unlink(missing_ok=True)  # should the renaming be cut short, the next run installs again
    _put_in_place(fresh, layer)
    (out / "architecture").write_text(architecture + "\n")
    stamp.write_text(wanted + "\n")
    seconds = time.monotonic() - started
    return f"libraries: installed in {seconds:.0f} s; {freed:,} bytes that never run in Lambda dropped"


def read_manifest(model: Path) -> dict[str, Any]:
    """The manifest of the model folder `model`, once both files are there and belong together.

    Raises PackagingError for a missing file, or a network whose SHA-256 is not the manifest's.
    """
    for name in MODEL_FILES:
        if not (model / name).is_file():
            raise PackagingError(
                f"no {name} in {_shown(model)}: build the model first with `make model`, "
                "or name the folder of a built one with --model"
            )
    try:
        manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
        expected = manifest["model_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise PackagingError(f"{_shown(model / 'manifest.json')} is not a model manifest ({error!r})") from error
    with (model / "model.onnx").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise PackagingError(
            f"{_shown(model / 'model.onnx')} is not the network that its manifest describes (SHA-256 "
            f"{found[:12]}..., not {str(expected)[:12]}...): build the model again with `make model`"
        )
    return dict(manifest)


def fill_model(out: Path, model: Path) -> str:
    """Make `out`/model from the model folder; returns one line that says which model it is."""
    manifest = read_manifest(model)
    fresh = _fresh_folder(out / "model.new")
    (fresh / "model").mkdir()
    also = [PREDICTIONS_FILE] if (model / PREDICTIONS_FILE).is_file() else []
    for name in (*MODEL_FILES, *also):
        shutil.copyfile(model / name, fresh / "model" / name)
    _put_in_place(fresh, out / "model")
    return f"model: {manifest.get('model_version', 'no version')} from {_shown(model)}"


def weights_warning(manifest: dict[str, Any]) -> str | None:
    """A line for the reader when the base network was never trained, else None."""
    if manifest.get("build", {}).get("weights") != "random":
        return None
    return (
        "WARNING: this model stands on random weights: it is for demonstration, its labels mean nothing. "
        "For a real one: make model WEIGHTS=imagenet"
    )


def deployment_hint(architecture: str, deployed: str) -> str | None:
    """A line for the reader where layers for `architecture` lie ready and the functions would run on another."""
    if architecture == deployed:
        return None
    return (
        f"WARNING: these layers run on {architecture} only, the functions would be deployed on {deployed}: deploy "
        f"with Architecture={architecture}, as `make deploy ARCH={architecture}` does"
    )


def package(
    model: Path,
    out: Path,
    requirements: Path = REQUIREMENTS,
    install: Install = pip_install,
    architecture: str = ARCHITECTURE,
    python: Path | None = None,
) -> None:
    """Fill both layers; print what was done, digests and sizes. Raises PackagingError, also over the limit."""
    warning = weights_warning(read_manifest(model))  # first, for it is quick and the libraries are not
    print(f"layers in {_shown(out)} for python{PYTHON_VERSION} on {architecture}", flush=True)
    print(fill_libraries(out, requirements, install, architecture, python), flush=True)
    print(fill_model(out, model))
    for layer in ("libraries", "model"):
        print(f"{layer}: sha256 {tree_digest(out / layer)}")
    if warning:
        print(warning)
    table, margin = size_table(out)
    print(table)
    if margin < 0:
        raise PackagingError(
            f"function code and layers are {-margin:,} bytes over Lambda's limit of {SIZE_LIMIT:,} bytes "
            "unzipped: use a smaller network or fewer libraries (the table shows which are large)"
        )


def check(out: Path, model: Path) -> str | None:
    """Whether `out` holds what `sam build` is to take along; it says itself that all is well where a layer is missing.

    Returns a line for the reader where the layer holds another model than the folder `model`, else None. Raises
    PackagingError for a missing layer.
    """
    for layer in ("libraries", "model"):
        if not (out / layer).is_dir():
            raise PackagingError(f"no {layer} layer in {_shown(out)}: run `make layer` first")
    packed = read_manifest(out / "model" / "model")
    try:
        built = read_manifest(model)
    except PackagingError:
        return None  # it was built elsewhere, or is being built; the layer is whole
    if built["model_sha256"] == packed["model_sha256"]:
        return None
    return (
        f"WARNING: the layer holds model {packed.get('model_version')}, and {_shown(model)} is "
        f"{built.get('model_version')}: to ship that one, run `make layer` first"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m layers", description="Fill the Lambda layers and check their size."
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the built model [build/model]")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the layers [build/layers]")
    parser.add_argument("--libraries-only", action="store_true", help="fill the libraries layer, which needs no model")
    parser.add_argument("--check", action="store_true", help="fill nothing: say whether the layers are there")
    parser.add_argument(
        "--architecture",
        choices=TARGETS,
        help=f"of the functions [as deployed, see samconfig.toml; else {ARCHITECTURE}]",
    )
    chosen = parser.parse_args(arguments)
    deployed = deployed_architecture()
    architecture = chosen.architecture or deployed or ARCHITECTURE
    try:
        if chosen.check:
            if warning := check(chosen.out, chosen.model):
                print(warning)
            return 0
        python = runtime_python()
        if chosen.libraries_only:
            print(fill_libraries(chosen.out, architecture=architecture, python=python))
        else:
            package(chosen.model, chosen.out, architecture=architecture, python=python)
            if hint := deployment_hint(architecture, deployed or ARCHITECTURE):
                print(hint)
    except (PackagingError, BytecodeError) as error:
        print(f"layers: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, say; layers are made beside their places, so those of before are whole
        print(
            f"layers: {error.filename or chosen.out}: {error.strerror or error}. The layers in {chosen.out} are "
            "as they were; `make layer` tries again",
            file=sys.stderr,
        )
        return 1
    return 0


def _fresh_folder(path: Path) -> Path:
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def _put_in_place(fresh: Path, place: Path) -> None:
    """Rename `fresh` to `place`, the same whoever made it and when."""
    normalise(fresh)
    old = place.with_name(place.name + ".old")
    if old.exists():
        shutil.rmtree(old)
    if place.exists():
        os.rename(place, old)
    os.rename(fresh, place)
    shutil.rmtree(old, ignore_errors=True)


def _shown(path: Path) -> str:
    """`path` as a person in the checkout would write it."""
    absolute = path.resolve()
    return str(absolute.relative_to(ROOT)) if absolute.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
