"""pyproject.toml against the lock files, the commands and .python-version."""

from __future__ import annotations

import importlib
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement

from local import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYER: list[str] = PROJECT["project"]["dependencies"]
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]
SCRIPTS: dict[str, str] = PROJECT["project"]["scripts"]


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines()
    specifications = (line.split(";")[0].rstrip(" \\").split("==") for line in lines if line[:1].isalpha())
    return {name.split("[")[0]: version for name, version in specifications}


@pytest.mark.parametrize(
    ("lock", "requirements"), [("layer", LAYER), ("dev", LAYER), *GROUPS.items()], ids=["layer", "dev-layer", *GROUPS]
)
def test_every_requirement_is_pinned_to_a_version_that_it_allows(lock: str, requirements: list[str]) -> None:
    pinned = pins(lock)

    for requirement in map(Requirement, requirements):
        assert requirement.specifier.contains(pinned[requirement.name]), f"run `make lock`: {requirement}"


def test_the_layer_and_the_tests_use_the_same_versions() -> None:
    layer, dev = pins("layer"), pins("dev")

    assert {name: dev[name] for name in layer} == layer


def test_every_file_of_the_layer_has_hashes_and_no_lock_names_an_index() -> None:
    text = (ROOT / "requirements" / "layer.txt").read_text()

    assert text.count(" \\\n    --hash=sha256:") >= len(pins("layer"))
    assert not [lock for lock in (ROOT / "requirements").glob("*.txt") if "://" in lock.read_text()]


@pytest.mark.parametrize("target", SCRIPTS.values(), ids=SCRIPTS)
def test_every_command_leads_to_a_main_function(target: str) -> None:
    module, function = target.split(":")

    assert callable(getattr(importlib.import_module(module), function))
