"""Run a command for a make target: make variables become its options, and its usage errors name the variables.

    python -m local.make MODULE VARIABLE[:KIND] ...

KIND says how a variable that is set reaches the command:

    IMAGE_SIZE              --image-size VALUE
    ARCH:--architecture     --architecture VALUE
    YES:flag                --yes
    ONLY:words              --only WORD ...
    BUCKET:argument         VALUE, which is required
    DIR:argument?           VALUE

Values come from the environment, where make puts every variable of its command line. No shell reads them, so paths may
hold spaces and apostrophes.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self

USAGE = 2  # exit status of a wrong command line, as argparse has it


@dataclass(frozen=True, slots=True)
class Variable:
    """A make variable and the option that it stands for."""

    name: str
    kind: str

    @classmethod
    def parse(cls, specification: str) -> Self:
        """From `VARIABLE` or `VARIABLE:KIND`."""
        name, _, kind = specification.partition(":")
        return cls(name, kind)

    @property
    def option(self) -> str:
        """The option's name on the command line."""
        return self.kind if self.kind.startswith("--") else f"--{self.name.lower().replace('_', '-')}"

    def arguments(self, value: str) -> list[str]:
        """What the command gets for `value`, which is not empty."""
        match self.kind:
            case "flag":
                return [self.option]
            case "words":
                return [self.option, *value.split()]
            case "argument" | "argument?":
                return [value]
        return [f"{self.option}={value}"]


def command_line(variables: list[Variable], environment: Mapping[str, str]) -> list[str]:
    """The arguments for the variables that are set; positional ones come last.

    Raises ValueError if a required variable is missing.
    """
    options: list[str] = []
    positional: list[str] = []
    for variable in variables:
        value = environment.get(variable.name, "")
        if variable.kind == "argument" and not value:
            raise ValueError(f"{variable.name} is missing: add {variable.name}=...")
        if value:
            (positional if variable.kind.startswith("argument") else options).extend(variable.arguments(value))
    return [*options, *(["--", *positional] if positional else [])]


def in_make_terms(message: str, variables: list[Variable]) -> str:
    """argparse's error message with the variables in place of the options."""
    message = re.sub(r"invalid int value: (.*)", r"must be a whole number, not \1", message)
    message = re.sub(r"invalid float value: (.*)", r"must be a number, not \1", message)
    message = re.sub(r"invalid choice: (.*?) \(choose from (.*)\)", r"must be one of \2, not \1", message)
    for variable in sorted(variables, key=lambda variable: -len(variable.option)):
        message = re.sub(rf"{re.escape(variable.option)}(?![\w-])", variable.name, message)
    return re.sub(r"^argument ([\w/-]+): (must )?", lambda m: f"{m[1]} {m[2]}" if m[2] else f"{m[1]}: ", message)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    module, *specifications = sys.argv[1:] if arguments is None else arguments
    variables = [Variable.parse(specification) for specification in specifications]

    def error(self: argparse.ArgumentParser, message: str) -> NoReturn:
        print(f"error: {in_make_terms(message, variables)}", file=sys.stderr)
        raise SystemExit(USAGE)

    try:
        given = command_line(variables, os.environ)
    except ValueError as missing:
        print(f"error: {missing}", file=sys.stderr)
        return USAGE
    argparse.ArgumentParser.error = error  # type: ignore[method-assign]
    sys.argv = [module, *given]
    command: Any = importlib.import_module(module)
    status: int = command.main()
    return status


if __name__ == "__main__":
    sys.exit(main())
