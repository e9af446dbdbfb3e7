"""Fills the libraries layer and the model layer.

Each layer is built beside its folder and exchanged with it in one step, so that a run that fails leaves the old layer.
At import only the standard library is imported: the SAM CLI's environment runs `check`.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from layers import ROOT, PackagingError, bytecode
from layers.reproducible import NOTES, TIMESTAMP, drop_notes, normalise, tree_digest
from layers.size import SIZE_LIMIT, size_of, size_table
from layers.wheels import ARCHITECTURE, PYTHON_VERSION, TARGETS, Target, pip_command, pip_install
from model_build.atomic_folder import atomic_folder

REQUIREMENTS = ROOT / "requirements" / "layer.txt"
MODEL_FILES = ("model.onnx", "manifest.json")
# The nightly report compares itself with the first. The network names pictures of the second, if it names any.
OPTIONAL_FILES = ("predictions.csv", "exemplars.json")
LAYERS = ("libraries", "model")

# Patterns under python/ of files that never run in Lambda. bin holds console scripts that name the Python of the
# machine that built the layer; type stubs and C headers are for type checkers and compilers. Package metadata
# (*.dist-info, with the licences) stays: importlib.metadata reads it.
UNUSED = ("bin", "**/tests", "**/__pycache__", "**/*.pyc", "**/*.pyi", "**/*.h", "**/*.pxd", "**/*.a")

Install = Callable[[Path, Path, Target], None]


def pack(
    model: Path,
    out: Path,
    requirements: Path = REQUIREMENTS,
    install: Install = pip_install,
    architecture: str = ARCHITECTURE,
    python: Path | None = None,
) -> None:
    """Fill both layers; print digests and sizes. Raises PackagingError, also for layers over the limit."""
    from labeller.manifest import Manifest, ModelError  # numpy, which the SAM CLI's environment lacks

    manifest = read_manifest(model)  # first: it is quick, and the libraries are not
    try:
        Manifest.from_file(model / "manifest.json")  # as the functions read it
    except ModelError as error:
        raise PackagingError(str(error)) from error
    print(f"layers in {relative(out)} for python{PYTHON_VERSION} on {architecture}", flush=True)
    print(fill_libraries(out, requirements, install, architecture, python), flush=True)
    print(fill_model(out, model))
    for layer in LAYERS:
        print(f"{layer}: sha256 {tree_digest(out / layer)}")
    if manifest.get("build", {}).get("weights") == "random":
        print("WARNING: this model has random weights, so its labels mean nothing. Train a real one: make model ...")
    table, margin = size_table(out)
    print(table)
    if margin < 0:
        raise PackagingError(
            f"function code and layers are {-margin:,} bytes over Lambda's limit of {SIZE_LIMIT:,} bytes "
            "unzipped: use a smaller network or fewer libraries (the table shows the large ones)"
        )


def fill_libraries(
    out: Path,
    requirements: Path = REQUIREMENTS,
    install: Install = pip_install,
    architecture: str = ARCHITECTURE,
    python: Path | None = None,
) -> str:
    """Build `out`/libraries unless it is up to date; return one line to print.

    `python`, of the runtime's version, compiles the libraries; with None each cold start does. The fingerprint and the
    architecture are written beside the layer: everything in a layer's folder is shipped. Raises PackagingError.
    """
    layer, stamp = out / "libraries", out / "libraries.sha256"
    current = fingerprint(requirements, TARGETS[architecture], bytecode.version_of(python))
    if layer.is_dir() and stamp.is_file() and stamp.read_text().strip() == current:
        return f"libraries: unchanged, {relative(requirements)} is installed already"
    started = time.monotonic()
    with atomic_folder(layer, "python") as fresh:
        libraries = fresh / "python"
        install(requirements, libraries, TARGETS[architecture])
        freed = prune(libraries)
        drop_notes(libraries)
        if python is not None:
            bytecode.compile_tree(libraries, python, "/opt/python")
        normalise(fresh)
        stamp.unlink(missing_ok=True)  # if the exchange is cut short, the next run installs again
    (out / "architecture").write_text(architecture + "\n")
    stamp.write_text(current + "\n")
    seconds = time.monotonic() - started
    return f"libraries: installed in {seconds:.0f} s; {freed:,} bytes that never run in Lambda removed"


def without_heic(requirements: Path, out: Path) -> Path:
    """A copy of `requirements`, beside the layers, without the decoder of HEIC: 27 MB, and x265, which is GPL-2.0.

    The functions then record HEIC as UNSUPPORTED. All other pins and hashes stay.
    """
    text = requirements.read_text("utf-8")
    kept = re.sub(r"^pillow-heif==.*\n(?:[ \t]+.*\n)*", "", text, flags=re.MULTILINE)
    if kept == text:
        raise PackagingError(f"{relative(requirements)} has no pillow-heif to leave out")
    out.mkdir(parents=True, exist_ok=True)
    copy = out / "layer-without-heic.txt"
    copy.write_text(kept, "utf-8")
    return copy


def fill_model(out: Path, model: Path) -> str:
    """Build `out`/model from the model folder; return one line that names the model."""
    manifest = read_manifest(model)
    with atomic_folder(out / "model", "model") as fresh:
        (fresh / "model").mkdir()
        optional = [name for name in OPTIONAL_FILES if (model / name).is_file()]
        for name in ("manifest.json", *digests_of(manifest), *optional):
            shutil.copyfile(model / name, fresh / "model" / name)
        normalise(fresh)
    return f"model: {manifest.get('model_version', 'no version')} from {relative(model)}"


def prune(folder: Path) -> int:
    """Delete the files of `folder` that never run in Lambda; return the bytes freed."""
    before = size_of(folder)
    for pattern in UNUSED:
        for path in list(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return before - size_of(folder)


def fingerprint(requirements: Path, target: Target, compiler: str = "") -> str:
    """SHA-256 of everything that decides the content of the libraries layer; `compiler`: bytecode.version_of."""
    pip_options = pip_command(Path("requirements"), Path("folder"), target)[1:]
    rules = json.dumps([pip_options, UNUSED, NOTES, TIMESTAMP, compiler])
    return hashlib.sha256(requirements.read_bytes() + rules.encode()).hexdigest()


def read_manifest(model: Path) -> dict[str, Any]:
    """The manifest of the folder `model`. Raises PackagingError if a file is missing, or the network is another one."""
    for name in MODEL_FILES:
        if not (model / name).is_file():
            raise PackagingError(
                f"no {name} in {relative(model)}: build the model first with `make model`, "
                "or name the folder of a built one with --model"
            )
    try:
        manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
        digests = digests_of(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise PackagingError(f"{relative(model / 'manifest.json')} is not a model manifest ({error!r})") from error
    for name, digest in digests.items():
        require_digest(model / name, digest)
    return dict(manifest)


def digests_of(manifest: dict[str, Any]) -> dict[str, str]:
    """The SHA-256 of each network that a manifest names, by its file. Raises KeyError, TypeError."""
    digests = {"model.onnx": manifest["model_sha256"]}
    if manifest.get("glance") is not None:
        digests["glance.onnx"] = manifest["glance"]["sha256"]
    return digests


def require_digest(path: Path, expected: str) -> None:
    """Raise PackagingError if the file is missing or has another SHA-256."""
    if not path.is_file():
        raise PackagingError(
            f"{relative(path)} is missing, and the manifest beside it names it: run `make model` again"
        )
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise PackagingError(
            f"{relative(path)} is not the network of its manifest (SHA-256 "
            f"{actual[:12]}..., not {str(expected)[:12]}...): build the model again with `make model`"
        )


def check(out: Path, model: Path) -> str | None:
    """Check the layers before `sam build`, which does not report a missing layer. Raises PackagingError for one.

    Returns a warning if the layer holds another model than the folder `model`, else None.
    """
    for layer in LAYERS:
        if not (out / layer).is_dir():
            raise PackagingError(f"no {layer} layer in {relative(out)}: run `make layer` first")
    packed = read_manifest(out / "model" / "model")
    try:
        built = read_manifest(model)
    except PackagingError:
        return None  # built elsewhere, or being built now; the layer is complete
    if built == packed:
        return None
    return (
        f"WARNING: the layer holds model {packed.get('model_version')}, but {relative(model)} is "
        f"{built.get('model_version')}: to ship that one, run `make layer` first"
    )


def relative(path: Path) -> str:
    """`path` relative to the checkout if it is inside, for messages."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(ROOT)) if absolute.is_relative_to(ROOT) else str(path)
