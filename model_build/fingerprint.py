"""What a finished model depends on, as one hash: equal keys mean that building again would give the same.

Imports no TensorFlow, so that asking whether a model is current takes no time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from evaluation import metrics
from labeller import classifier, manifest
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
    "scikit-learn",
    "scipy",
)
"""What computes; in the manifest and in report.json with their versions."""

NOT_OF_THE_MODEL = frozenset({"__main__.py", "cache.py", "progress.py"})
"""Modules of this package that no byte of the model's folder depends on."""


def build_fingerprint(config: BuildConfig, data: Dataset) -> str:
    """SHA-256 over the settings, the content of pictures and weights, the source that makes a model of them, and the
    packages' versions. Where things lie does not count. OSError if a weight file that is named cannot be read."""
    settings = {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}
    if config.weights not in ("imagenet", "random"):
        settings["weights"] = hashlib.sha256(Path(config.weights).read_bytes()).hexdigest()
    parts = [settings, data.digest, _source_digest(), decoder_fingerprint(), {name: version(name) for name in PACKAGES}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _source_digest() -> str:
    own = sorted(path for path in Path(__file__).parent.rglob("*.py") if path.name not in NOT_OF_THE_MODEL)
    return source_of(*(module.__file__ for module in (classifier, manifest, metrics)), *map(str, own))
