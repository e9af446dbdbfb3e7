"""A hash of everything a finished model depends on: equal fingerprints mean that a new build would give the same. And
one of all that decides its answers, which names it.

Imports no TensorFlow, so that checking whether a model is current is fast.
"""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from evaluation import charts, metrics, pages, predictions, thumbnails
from labeller import classifier, manifest
from labeller.manifest import Manifest
from model_build.cache import source_of
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset
from model_build.data.reader import decoder_fingerprint

PACKAGES = (
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "numpy",
    "pillow",
    "pillow-heif",
    "simplejpeg",
    "scikit-learn",
    "scipy",
)
"""The packages that compute; manifest.json and report.json name their versions."""

SHARED = (classifier, manifest, metrics, predictions, charts, pages, thumbnails)
"""Modules of the functions that shape files of the model's folder, besides the decoders. The folder includes the card,
so pages and their templates count too."""

PACKAGE = Path(__file__).parent

WITHOUT_EFFECT = frozenset({"__main__.py", "atomic_folder.py", "cache.py", "progress.py", "report/summary.py"})
"""Modules of this package that change no byte of the folder: command line, disk and terminal."""


def build_fingerprint(config: BuildConfig, data: Dataset) -> str:
    """SHA-256 over settings, images, weights, source and versions of packages, but no paths.

    OSError if the weight file cannot be read.
    """
    settings = {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}
    if config.weights not in ("imagenet", "random"):
        settings["weights"] = hashlib.sha256(Path(config.weights).read_bytes()).hexdigest()
    versions = {name: version(name) for name in PACKAGES}
    parts = [settings, data.digest, source_of(*source_files()), decoder_fingerprint(), versions]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def version_of(manifest: Manifest) -> str:
    """The model's version, by all that decides its answers and their status: rows of another version are stale."""
    decisive = {name: value for name, value in asdict(manifest).items() if name not in ("model_version", "build")}
    return f"vgg16-{hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]}"


def source_files() -> list[str]:
    """The modules and templates that a model's folder depends on, besides the decoders."""
    modules = [path for path in PACKAGE.rglob("*.py") if str(path.relative_to(PACKAGE)) not in WITHOUT_EFFECT]
    templates = [
        path
        for folder in (PACKAGE / "report" / "templates", pages.TEMPLATES)
        for path in folder.iterdir()
        if path.is_file()
    ]
    return [str(module.__file__) for module in SHARED] + sorted(map(str, modules + templates))
