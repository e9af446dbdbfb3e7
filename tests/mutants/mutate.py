"""Print a sample of a module's mutants as JSON: `mutate.py FILE SAMPLE SEED`.

Runs in .venv-mutants, which has mutmut and nothing of this project. The operators are mutmut's. Its command
`mutmut run` does not fit. It changes the bodies of undecorated functions only: no constant of a module, no default of a
dataclass, no property. It names a module after its path, `functions.labeller.events`, and so finds no test of it. It
shares an environment with everything that the tests need.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import libcst as cst
from mutmut.mutation.mutators import mutation_operators

# Mutants that change no behaviour that a test should hold are left out.
WORDING = {"logger", "warnings", "print"}  # calls whose arguments are text for people
TRIVIAL = {"len", "isinstance", "cast"}  # as in mutmut: len(None) fails wherever it is called
TYPE_VARIABLES = {"TypeVar", "TypeVarTuple", "ParamSpec"}
# `encoding` is UTF-8 with "UTF-8" and by default too. `strict` of zip guards lengths that are equal by construction. A
# command's `description` is wording, whatever expression names it.
GUARDS = {"encoding", "strict", "description"}
GENERICS = {"tuple", "dict", "list", "Callable", "Mapping", "NDArray", "Literal"}


class Mutations(cst.CSTVisitor):
    """Collects pairs of a node and what takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Add the mutations of the node; returns whether those of its children are wanted."""
        if is_left_out(node):
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.pairs += [(node, mutant) for mutant in operator(node) if not is_unimportant(node, mutant)]
        return not is_guard(node)


def is_left_out(node: cst.CSTNode) -> bool:
    """Whether the node is wording (an error, a message, a call that logs), a type, or trivial."""
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom | cst.Raise):
        return True
    if isinstance(node, cst.Assign):
        return called(node.value) in TYPE_VARIABLES or is_type_alias(node.value) or is_export_list(node)
    return called(node) in WORDING | TRIVIAL or is_message(node)


def is_export_list(node: cst.Assign) -> bool:
    """Whether the node assigns `__all__`, which only `import *` reads, and nothing here imports so."""
    return any(isinstance(target.target, cst.Name) and target.target.value == "__all__" for target in node.targets)


def is_type_alias(node: cst.CSTNode) -> bool:
    """Whether the node is a generic type with its parameters."""
    return isinstance(node, cst.Subscript) and isinstance(node.value, cst.Name) and node.value.value in GENERICS


def called(node: cst.CSTNode) -> str | None:
    """The name of the function, or of the object whose method a call calls."""
    if not isinstance(node, cst.Call):
        return None
    name = node.func
    while isinstance(name, cst.Attribute):
        name = name.value
    return name.value if isinstance(name, cst.Name) else None


def is_message(node: cst.CSTNode) -> bool:
    """Whether the node is a string with a space, formatted or not."""
    if isinstance(node, cst.ConcatenatedString):
        return is_message(node.left) or is_message(node.right)
    if isinstance(node, cst.FormattedString):
        return any(isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts)
    return isinstance(node, cst.SimpleString) and " " in node.value


def is_unimportant(node: cst.CSTNode, mutant: cst.CSTNode) -> bool:
    """Whether the mutant differs in nothing but messages and guards."""
    if isinstance(node, cst.Assign | cst.AnnAssign):
        return node.value is not None and is_message(node.value)
    if not (isinstance(node, cst.Call) and isinstance(mutant, cst.Call) and node.func is mutant.func):
        return False
    return all(arg in mutant.args for arg in node.args if not (is_message(arg.value) or is_guard(arg)))


def is_guard(node: cst.CSTNode) -> bool:
    """Whether the node is an argument that is a guard."""
    if not isinstance(node, cst.Arg):
        return False
    if node.keyword is not None:
        return node.keyword.value in GUARDS
    return isinstance(node.value, cst.SimpleString) and node.value.evaluated_value == "utf-8"


def mutants(source: str, sample: int, seed: str) -> tuple[int, Iterator[str]]:
    """The number of all mutants of a module, and the sources of a sample of them in the order of the lines."""
    module = cst.MetadataWrapper(cst.parse_module(source)).module  # without this, nodes may be shared
    visitor = Mutations()
    module.visit(visitor)
    pairs = visitor.pairs
    chosen = sorted(random.Random(seed).sample(range(len(pairs)), min(sample, len(pairs))))
    return len(pairs), (module.deep_replace(*pairs[i]).code for i in chosen)


if __name__ == "__main__":
    total, sources = mutants(Path(sys.argv[1]).read_text(encoding="utf-8"), int(sys.argv[2]), sys.argv[3])
    json.dump({"total": total, "sources": list(sources)}, sys.stdout)
