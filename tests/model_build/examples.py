"""Pictures outside a data set, and the schema of a build report."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from jsonschema import Draft202012Validator

from model_build.data.dataset import Example
from tests.support import ROOT


def example_of(path: Path, label: int) -> Example:
    """The example that a scan would make of the file as it is now."""
    return Example(path, label, hashlib.sha256(path.read_bytes()).hexdigest())


def report_schema() -> Draft202012Validator:
    """docs/build-report.schema.json, checked."""
    content = json.loads((ROOT / "docs/build-report.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)
