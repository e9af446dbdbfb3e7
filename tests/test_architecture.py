"""The shape of the code: import rules, what each function's zip contains, and the size of functions and modules.

The import rules themselves are the contracts in pyproject.toml, which `make lint` checks too.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from local import ROOT

SOURCES = ("functions", "model_build", "layers", "ops", "local", "bench")
FILES = [file for source in SOURCES for file in sorted((ROOT / source).rglob("*.py"))]

LONGEST_FUNCTION, LONGEST_MODULE = 60, 350  # lines

PACKAGED = dict(
    re.findall(r"^(build-\w+).*: PACKAGES := (.*)$", (ROOT / "functions" / "Makefile").read_text(), re.MULTILINE)
)
"""Make target of a function -> the packages in its zip."""


def test_imports_point_one_way() -> None:
    # In a process of its own: import-linter configures logging, which silences the loggers of this one.
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "functions"), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_import_rules_cover_every_package() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = {file.parent.name for source in SOURCES for file in (ROOT / source).glob("__init__.py")}
    packages |= {file.parent.name for file in (ROOT / "functions").glob("*/__init__.py")}

    assert set(rules["root_packages"]) == packages


@pytest.mark.parametrize(
    ("target", "entry"), [("build-ClassifyFunction", "classify.app"), ("build-ScoreFunction", "score.app")]
)
def test_every_module_in_a_functions_zip_is_reachable_from_its_handler(target: str, entry: str) -> None:
    packages = PACKAGED[target].split()
    graph = grimp.build_graph(*packages, cache_dir=None)

    reached = graph.find_upstream_modules(entry) | {entry}

    unreached = {module for module in graph.modules - reached if not is_empty(module)}
    assert unreached == set()


def is_empty(module: str) -> bool:
    """Whether a module is a package with nothing but a docstring."""
    file = ROOT / "functions" / module.replace(".", "/") / "__init__.py"
    return file.exists() and len(ast.parse(file.read_text()).body) <= 1


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {
        f"{file.relative_to(ROOT)}:{function.lineno} {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for file in FILES
        for function in functions(file)
    }

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_no_module_is_longer_than_a_person_can_hold_in_the_head() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}
