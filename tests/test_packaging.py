"""pyproject.toml against the lock files, the commands, .python-version and the changelog."""

from __future__ import annotations

import importlib
import runpy
import tomllib
from collections.abc import Callable
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


def test_the_default_python_is_the_oldest_that_is_supported() -> None:
    oldest = (ROOT / ".python-version").read_text().strip()

    assert PROJECT["project"]["requires-python"].startswith(f">={oldest},")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest


@pytest.fixture(scope="module")
def release_notes() -> Callable[[str, str, str], str]:
    return runpy.run_path(str(ROOT / ".github" / "release_notes.py"))["release_notes"]


def test_the_changelog_has_a_section_for_the_version(release_notes: Callable[[str, str, str], str]) -> None:
    version = PROJECT["project"]["version"]

    notes = release_notes(f"v{version}", version, (ROOT / "CHANGELOG.md").read_text())

    assert "### Changed" in notes
    assert "## 0.1.0" not in notes


@pytest.mark.parametrize(
    ("tag", "changelog", "message"),
    [
        ("v1.2.4", "## 1.2.3 - 2026-01-01\n\ntext\n", "the tag is v1.2.4, but pyproject.toml has version 1.2.3"),
        ("v1.2.3", "## 1.2.4 - 2026-01-01\n\ntext\n", "has no section '## 1.2.3 - YYYY-MM-DD'"),
        ("v1.2.3", "## 1.2.3 - 2026-01-01\n\n## 1.2.2 - 2025-01-01\n\ntext\n", "has no section"),
    ],
)
def test_a_release_stops_if_tag_version_and_changelog_disagree(
    release_notes: Callable[[str, str, str], str], tag: str, changelog: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        release_notes(tag, "1.2.3", changelog)
