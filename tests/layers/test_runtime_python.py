"""The search for a Python of the runtime's version, with uv and real interpreters behind scripts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from layers import PackagingError, runtime_python
from layers.runtime_python import RuntimePythonNotFound, ensure_runtime, find_runtime_python

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which uv finds no Python but those that a test makes."""
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "base"))
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "cache")}


def interpreter(folder: Path, name: str = f"python{VERSION}") -> Path:
    """A link to this Python."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.symlink_to(os.path.realpath(sys.executable))
    return program


def broken_shim(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"python{VERSION}"
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    return program


def test_one_on_path_is_found(tmp_path: Path, environ: dict[str, str]) -> None:
    program = interpreter(tmp_path / "bin")
    assert find_runtime_python(VERSION, environ) == program


@pytest.mark.parametrize(
    "folder", [".pyenv/versions", ".local/share/mise/installs/python", ".asdf/installs/python", "pyenv-root/versions"]
)
def test_a_shim_that_fails_is_skipped_for_a_version_managers_python(
    tmp_path: Path, environ: dict[str, str], folder: str
) -> None:
    broken_shim(tmp_path / "bin")
    program = interpreter(tmp_path / folder / f"{VERSION}.1" / "bin")
    if folder.startswith("pyenv-root"):
        environ["PYENV_ROOT"] = str(tmp_path / "pyenv-root")
    assert find_runtime_python(VERSION, environ) == program


def test_a_python_of_another_version_is_skipped(tmp_path: Path, environ: dict[str, str]) -> None:
    interpreter(tmp_path / "bin", "python3.99")
    assert find_runtime_python("3.99", environ) is None


def test_the_one_that_is_named_wins(tmp_path: Path, environ: dict[str, str]) -> None:
    interpreter(tmp_path / "bin")
    named = interpreter(tmp_path / "named", "mine")
    assert find_runtime_python(VERSION, environ | {"LAMBDA_PYTHON": str(named)}) == named


@pytest.mark.parametrize("named", ["/absent/python", "/bin/false"])
def test_a_named_python_that_does_not_run_is_an_error_though_there_are_others(
    tmp_path: Path, environ: dict[str, str], named: str
) -> None:
    interpreter(tmp_path / "bin")
    with pytest.raises(PackagingError, match=f"LAMBDA_PYTHON names {named}, which is not a Python {VERSION}"):
        find_runtime_python(VERSION, environ | {"LAMBDA_PYTHON": named})


def test_a_named_python_of_another_version_is_an_error(tmp_path: Path, environ: dict[str, str]) -> None:
    named = interpreter(tmp_path / "named")
    with pytest.raises(PackagingError, match=r"which is not a Python 3\.99"):
        find_runtime_python("3.99", environ | {"LAMBDA_PYTHON": str(named)})


def test_without_one_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_python, "find_runtime_python", lambda _: None)
    with pytest.raises(
        RuntimePythonNotFound, match=r"needs Python 3\.13.*uv python install 3\.13.*LAMBDA_PYTHON="
    ) as e:
        ensure_runtime("3.13")
    assert e.value.exit_code == 4
