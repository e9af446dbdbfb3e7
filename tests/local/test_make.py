"""The launcher of make targets: from make variables to the options of a command."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType

import pytest

from local.make import Variable, command_line, main

VARIABLES = [
    Variable.parse(text) for text in ("DIR:argument", "IMAGE_SIZE", "ARCH:--architecture", "YES:flag", "ONLY:words")
]


@pytest.mark.parametrize(
    ("environment", "arguments"),
    [
        ({}, ["--", "d"]),
        ({"IMAGE_SIZE": "64"}, ["--image-size=64", "--", "d"]),
        ({"ARCH": "arm64"}, ["--architecture=arm64", "--", "d"]),
        ({"YES": "1"}, ["--yes", "--", "d"]),
        ({"ONLY": "one two"}, ["--only", "one", "two", "--", "d"]),
        ({"ONLY": "one", "YES": "1", "IMAGE_SIZE": "64"}, ["--image-size=64", "--yes", "--only", "one", "--", "d"]),
        ({"IMAGE_SIZE": "", "ARCH": "", "YES": "", "ONLY": ""}, ["--", "d"]),  # as make exports what is not set
        ({"OTHER": "1"}, ["--", "d"]),
    ],
)
def test_a_variable_that_is_set_is_an_option_of_its_kind(environment: dict[str, str], arguments: list[str]) -> None:
    assert command_line(VARIABLES, {"DIR": "d", **environment}) == arguments


def test_without_positional_variables_there_are_options_only() -> None:
    assert command_line([Variable.parse("SEED")], {"SEED": "7"}) == ["--seed=7"]
    assert command_line([Variable.parse("SEED")], {}) == []


@pytest.mark.parametrize("environment", [{}, {"DIR": ""}])
def test_a_required_variable_that_is_not_set_is_an_error(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^DIR is missing: add DIR=\.\.\.$"):
        command_line(VARIABLES, environment)


def test_a_positional_variable_that_may_be_left_out() -> None:
    variables = [Variable.parse("DIR:argument?"), Variable.parse("SEED")]
    assert command_line(variables, {"DIR": "-d", "SEED": "7"}) == ["--seed=7", "--", "-d"]
    assert command_line(variables, {"DIR": "", "SEED": "7"}) == ["--seed=7"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A command with the option --image-size, whose exit status is its value; what main() changes is changed back."""

    def run() -> int:
        parser = argparse.ArgumentParser()
        parser.add_argument("--image-size", type=int, default=0)
        options: argparse.Namespace = parser.parse_args()
        return int(options.image_size)

    module = ModuleType("enlarge")
    vars(module)["main"] = run
    monkeypatch.setitem(sys.modules, "enlarge", module)
    monkeypatch.setattr(sys, "argv", ["make.py", "enlarge", "IMAGE_SIZE"])
    monkeypatch.setattr(argparse.ArgumentParser, "error", argparse.ArgumentParser.error)
    return module


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize("arguments", [None, ["enlarge", "IMAGE_SIZE"]])
def test_the_status_of_the_command_is_that_of_the_launcher(
    arguments: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments) == 0
    monkeypatch.setenv("IMAGE_SIZE", "5")
    assert main(arguments or ["enlarge", "IMAGE_SIZE"]) == 5
    assert sys.argv == ["enlarge", "--image-size=5"]


@pytest.mark.usefixtures("command")
def test_wrong_and_missing_values_are_one_line_about_the_variable_and_exit_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["enlarge", "DIR:argument"]) == 2
    assert capsys.readouterr().err == "error: DIR is missing: add DIR=...\n"
    monkeypatch.setenv("IMAGE_SIZE", "abc")
    with pytest.raises(SystemExit) as ended:
        main(["enlarge", "IMAGE_SIZE"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: IMAGE_SIZE must be a whole number, not 'abc'\n"
