from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from layers import PackagingError, bytecode
from layers.bytecode import compile_tree, main, version_of
from tests.support import ROOT

SOURCES = {"a.py": "def f():\n    raise KeyError\n", "package/__init__.py": "NAMES = {'b', 'c', 'd', 'e'}\n"}


def tree(folder: Path) -> Path:
    for name, source in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    return folder


def test_each_module_gets_bytecode_that_is_used_whatever_its_sources_time(tmp_path: Path) -> None:
    folder = tree(tmp_path / "layer")
    compile_tree(folder, Path(sys.executable), "/opt/python")

    for name in SOURCES:
        compiled = Path(importlib.util.cache_from_source(str(folder / name)))
        # PEP 552: a flags field of 1 is "hash-based, not to be checked".
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1
    (folder / "a.py").write_text("this is not Python")  # is not read again
    done = subprocess.run([sys.executable, "-c", "import a; a.f()"], cwd=folder, capture_output=True, text=True)
    assert "KeyError" in done.stderr


def test_bytecode_is_reproducible(tmp_path: Path) -> None:
    folders = [tree(tmp_path / name) for name in ("one", "two")]
    for folder in folders:
        compile_tree(folder, Path(sys.executable), "/opt/python")

    one, two = ({path.name: path.read_bytes() for path in folder.rglob("*.pyc")} for folder in folders)
    assert len(one) == len(SOURCES)
    assert one == two


def test_a_file_that_does_not_compile_stays_as_it_is_and_the_others_are_compiled(tmp_path: Path) -> None:
    folder = tree(tmp_path / "layer")
    (folder / "bad.py").write_text("def (")

    compile_tree(folder, Path(sys.executable), "/opt/python")

    assert Path(importlib.util.cache_from_source(str(folder / "a.py"))).is_file()
    assert (folder / "bad.py").read_text() == "def ("


def test_a_python_behind_a_shim_that_needs_the_callers_environment_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The python3.13 of pyenv and mise are scripts that find the real one through environment variables."""
    shim = tmp_path / "shims" / "python3.13"
    shim.parent.mkdir()
    shim.write_text('#!/bin/sh\nexec "$THE_REAL_PYTHON" "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("THE_REAL_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "elsewhere"))  # must not redirect the bytecode
    assert version_of(shim) == version_of(Path(sys.executable))
    folder = tree(tmp_path / "layer")
    compile_tree(folder, shim, "/opt/python")
    assert len(list(folder.rglob("__pycache__/*.pyc"))) == len(SOURCES)


def test_a_program_other_than_python_is_an_error() -> None:
    assert version_of(None) == ""
    assert version_of(Path(sys.executable)).startswith(sys.version.split()[0])
    with pytest.raises(PackagingError, match="exit status 1"):
        version_of(Path("/bin/false"))


def test_make_build_compiles_what_sam_build_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "compiler", lambda: Path(sys.executable))
    functions = [tree(tmp_path / name) for name in ("ClassifyFunction", "ScoreFunction")]

    assert main([str(folder) for folder in functions]) == 0

    assert [len(list(folder.rglob("*.pyc"))) for folder in functions] == [len(SOURCES)] * 2
    recipe = (ROOT / "Makefile").read_text().partition("\nbuild:")[2].partition("\n\n")[0].splitlines()[1:]
    assert recipe[-2:] == ["\t@$(SAM) build", "\t@$(BIN)/python -m layers.bytecode .aws-sam/build/*Function"]


def test_without_a_python_of_the_runtimes_version_nothing_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bytecode, "find_runtime_python", lambda: None)

    assert main([str(tree(tmp_path))]) == 0

    assert not list(tmp_path.rglob("*.pyc"))
    assert "no Python 3.13 on this machine" in capsys.readouterr().out


def test_a_named_python_that_does_not_exist_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMBDA_PYTHON", "/nonexistent/python3.13")

    assert main([str(tree(tmp_path))]) == 1

    assert "/nonexistent/python3.13" in capsys.readouterr().err
