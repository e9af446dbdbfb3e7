from __future__ import annotations

import os
from pathlib import Path

import pytest

from layers.runtime_python import RuntimePythonNotFound, find_runtime_python


def script(folder: Path, says: str, status: int = 0) -> Path:
    """A program called python3.13 that prints `says`, whatever it is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "python3.13"
    program.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    program.chmod(0o755)
    return program


def test_one_on_path_is_found(tmp_path: Path) -> None:
    program = script(tmp_path / "bin", "3.13")
    assert find_runtime_python("3.13", {"PATH": str(tmp_path / "bin")}, []) == program


def test_a_shim_that_fails_is_passed_over_for_one_that_runs(tmp_path: Path) -> None:
    script(tmp_path / "shims", "command not found", status=127)
    program = script(tmp_path / "versions" / "3.13.0" / "bin", "3.13")
    environ = {"PATH": str(tmp_path / "shims")}
    assert find_runtime_python("3.13", environ, [program.parent]) == program


def test_one_that_lies_about_its_version_is_passed_over(tmp_path: Path) -> None:
    script(tmp_path / "a", "3.12")
    program = script(tmp_path / "b", "3.13")
    environ = {"PATH": f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}"}
    assert find_runtime_python("3.13", environ, []) == program


def test_pyenvs_versions_are_looked_through_newest_first(tmp_path: Path) -> None:
    script(tmp_path / "versions" / "3.13.0" / "bin", "3.13")
    newest = script(tmp_path / "versions" / "3.13.5" / "bin", "3.13")
    script(tmp_path / "versions" / "3.12.1" / "bin", "3.12")
    environ = {"PATH": "", "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path)}
    assert find_runtime_python("3.13", environ) == newest


def test_uvs_versions_are_found(tmp_path: Path) -> None:
    program = script(tmp_path / ".local/share/uv/python/cpython-3.13.1-linux-x86_64-gnu/bin", "3.13")
    assert find_runtime_python("3.13", {"PATH": "", "HOME": str(tmp_path)}) == program


def test_the_one_that_is_named_wins(tmp_path: Path) -> None:
    script(tmp_path / "bin", "3.13")
    named = script(tmp_path / "named", "3.13")
    environ = {"PATH": str(tmp_path / "bin"), "LAMBDA_PYTHON": str(named)}
    assert find_runtime_python("3.13", environ, []) == named


def test_a_named_one_that_will_not_do_is_an_error_though_there_are_others(tmp_path: Path) -> None:
    script(tmp_path / "bin", "3.13")
    environ = {"PATH": str(tmp_path / "bin"), "LAMBDA_PYTHON": str(tmp_path / "absent")}
    with pytest.raises(RuntimePythonNotFound, match=r"LAMBDA_PYTHON names .*absent"):
        find_runtime_python("3.13", environ, [])


def test_where_there_is_none_the_error_says_what_was_tried_and_what_to_do(tmp_path: Path) -> None:
    shim = script(tmp_path / "shims", "no", status=127)
    with pytest.raises(RuntimePythonNotFound) as caught:
        find_runtime_python("3.13", {"PATH": str(tmp_path / "shims")}, [])
    assert caught.value.exit_code == 4
    for part in ("needs Python 3.13", f"{shim} did not run", "uv python install 3.13", "LAMBDA_PYTHON="):
        assert part in str(caught.value)
