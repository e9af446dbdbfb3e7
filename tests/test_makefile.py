"""Make variables: how they reach the commands, and what a wrong one is answered.

The real Makefile and launcher run in a folder of their own, where stand-ins of the commands print their arguments.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from local import ROOT
from local.make import USAGE, Variable, in_make_terms

MAKEFILE = (ROOT / "Makefile").read_text()
TAKES = {target: names.split() for target, names in re.findall(r"^([a-z-]+)_takes := (.+)$", MAKEFILE, re.MULTILINE)}
MODULES = dict(re.findall(r"^([a-z-]+):.*\n\t@\$\(call run,([\w.]+)\)$", MAKEFILE, re.MULTILINE))

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

AWKWARD = """it's "mine" & (a b);*"""

STAND_IN = """
import json, sys

def main():
    print("ARGUMENTS", json.dumps(sys.argv[1:]))
    return 0
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Makefile, environments that are ready, and stand-ins for the commands."""
    folder = tmp_path_factory.mktemp("it's a project")
    for name in ("Makefile", "pyproject.toml", "local/make.py", *(f"requirements/{p.name}" for p in LOCKS)):
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    for module in MODULES.values():
        file = folder.joinpath(*module.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(STAND_IN)
    for package in {package for file in folder.rglob("*.py") for package in file.parents if folder in package.parents}:
        (package / "__init__.py").touch()  # not to be merged with the real packages on the import path
    for environment in (".venv", ".venv-sam", ".venv-bench", ".venv-mutants"):
        (folder / environment / "bin").mkdir(parents=True)
        (folder / environment / "ready").touch()
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def arguments_of(folder: Path, target: str, *arguments: str) -> list[str]:
    before = ("-o", "layer", "-o", "build") if target == "deploy" else ()  # what the target makes first
    outcome = make(folder, *before, target, *arguments)
    assert outcome.returncode == 0, outcome.stderr
    (line,) = re.findall(r"^ARGUMENTS (.*)$", outcome.stdout, re.MULTILINE)
    return list(json.loads(line))


@pytest.mark.parametrize("target", MODULES)
def test_every_variable_reaches_the_command_whatever_it_holds(project: Path, target: str) -> None:
    variables = [Variable.parse(specification) for specification in TAKES[target]]

    arguments = arguments_of(project, target, *(f"{variable.name}={AWKWARD}" for variable in variables))

    for variable in variables:
        match variable.kind:
            case "argument" | "argument?":
                assert arguments[-2:] == ["--", AWKWARD]
            case "flag":
                assert variable.option in arguments
            case "words":
                start = arguments.index(variable.option) + 1
                assert arguments[start : start + 5] == AWKWARD.split()
            case _:
                assert f"{variable.option}={AWKWARD}" in arguments


@pytest.mark.parametrize("target", [name for name in MODULES if "argument" not in "".join(TAKES[name])])
def test_a_variable_that_is_not_set_leaves_the_commands_default(project: Path, target: str) -> None:
    assert arguments_of(project, target) == []


def test_the_event_has_a_default(project: Path) -> None:
    assert arguments_of(project, "invoke") == ["--", "events/sqs-batch.json"]


def test_the_test_set_is_the_builds_own_without_a_folder(project: Path) -> None:
    assert arguments_of(project, "testset", "STACK=image-labeller") == ["--stack=image-labeller"]


@pytest.mark.parametrize(("target", "variable"), [("attach", "BUCKET"), ("shadow", "MODEL")])
def test_a_required_variable_is_asked_for_by_name(project: Path, target: str, variable: str) -> None:
    assert f"error: {variable} is missing: add {variable}=..." in make(project, target).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "DATE=x"], "`make model` does not take DATE. It takes: DATA WEIGHTS IMAGE_SIZE COMPRESS PYTHON"),
        (["redrive", "DIR=x"], "`make redrive` does not take DIR. It takes: STACK PYTHON"),
        (["lint", "STACK=x"], "`make lint` does not take STACK. It takes: PYTHON"),
        (
            ["layer", "build", "ARCHITECTURE=x"],
            "`make layer build` does not take ARCHITECTURE. It takes: ARCH HEIC ENV PYTHON",
        ),
    ],
)
def test_a_variable_that_the_target_does_not_take_is_an_error(
    project: Path, arguments: list[str], message: str
) -> None:
    outcome = make(project, *arguments)

    assert outcome.returncode == 2
    assert message in outcome.stderr


@pytest.mark.parametrize("target", MODULES)
def test_every_variable_is_an_option_of_the_real_command(
    target: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(MODULES[target]).main()
    text = capsys.readouterr().out
    usage, options = text.split("\n\n")[0], set(re.findall(r"--[a-z][a-z-]*", text))

    variables = [Variable.parse(specification) for specification in TAKES[target]]
    assert {variable.option for variable in variables if not variable.kind.startswith("argument")} <= options
    # argparse writes [DIR] for an argument that may be left out.
    may_be_left_out = {variable.name for variable in variables if variable.kind == "argument?"}
    assert may_be_left_out == set(re.findall(r"\[([A-Z]+)\]", usage))


def test_every_target_with_variables_names_them_in_the_list_of_targets() -> None:
    for target, names in TAKES.items():
        (description,) = re.findall(rf"^{target}:.*## (.*)$", MAKEFILE, re.MULTILINE)
        assert [name for name in names if f"{name.split(':')[0]}=" not in description] == [], target


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image-size", "abc"], "IMAGE_SIZE must be a whole number, not 'abc'"),
        (["--threshold", "much"], "THRESHOLD must be a number, not 'much'"),
        (["--architecture", "mips"], "ARCH must be one of 'arm64', 'x86_64', not 'mips'"),
        (["--day", "x"], "DAY: a day is written 2026-11-23, not 'x'"),
        (["--photographs", "0"], "PHOTOGRAPHS must be at least 1"),
    ],
)
def test_a_wrong_value_is_answered_in_terms_of_the_variable(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def day(text: str) -> str:
        raise argparse.ArgumentTypeError(f"a day is written 2026-11-23, not {text!r}")

    parser = argparse.ArgumentParser()
    parser.add_argument("--image", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--architecture", choices=("arm64", "x86_64"))
    parser.add_argument("--day", type=day)
    parser.add_argument("--photographs", type=int)
    variables = [
        Variable.parse(text)
        for text in ("IMAGE", "IMAGE_SIZE", "THRESHOLD", "ARCH:--architecture", "DAY", "PHOTOGRAPHS")
    ]
    said: list[str] = []

    def error(text: str) -> None:
        said.append(in_make_terms(text, variables))
        raise SystemExit

    monkeypatch.setattr(parser, "error", error)

    with suppress(SystemExit):
        if parser.parse_args(arguments).photographs == 0:
            parser.error("--photographs must be at least 1")

    assert said == [message]


@pytest.mark.parametrize(
    ("module", "specifications", "variables", "message"),
    [
        ("layers.__main__", ["ARCH:--architecture"], {"ARCH": "mips"}, "error: ARCH must be one of"),
        ("model_build.__main__", ["IMAGE_SIZE"], {"IMAGE_SIZE": "abc"}, "error: IMAGE_SIZE: 'abc' is neither auto"),
    ],
)
def test_the_launcher_prints_one_line_and_no_usage(
    module: str, specifications: list[str], variables: dict[str, str], message: str
) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "local.make", module, *specifications],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert outcome.returncode == USAGE
    assert outcome.stderr.startswith(message)
    assert outcome.stderr.count("\n") == 1
