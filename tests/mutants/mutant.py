"""A mutant: what it changes, and the list of those that change no behaviour."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import ROOT

LIST = Path(__file__).with_name("mutants.toml")


def file_of(module: str, root: Path = ROOT) -> Path:
    """The source of a module of functions/ or model_build/."""
    path = Path(*module.split(".")).with_suffix(".py")
    return root / path if (root / path).exists() else root / "functions" / path


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one place changed."""

    module: str
    file: Path
    source: str

    @property
    def diff(self) -> list[str]:
        """The lines of a patch for `git apply`, with the name of the file relative to the repository."""
        name = file_of(self.module, Path()).as_posix()
        before, after = self.file.read_text(encoding="utf-8").splitlines(), self.source.splitlines()
        return list(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm=""))

    @property
    def change(self) -> tuple[str, str]:
        """The changed lines without indentation, before and after. They stay the same when lines move."""
        changed = self.diff[2:]
        before, after = ("\n".join(line[1:].strip() for line in changed if line[0] == sign) for sign in "-+")
        return before, after

    @property
    def name(self) -> str:
        """Module and digest of the change."""
        return f"{self.module}-{hashlib.sha256(repr(self.change).encode()).hexdigest()[:8]}"


def deciding_tests() -> dict[str, list[str]]:
    """The modules to mutate, and pytest's arguments for the tests that decide about each."""
    return _table()["tests"]


def equivalent() -> dict[tuple[str, str, str], str]:
    """Module, line and mutated line of the mutants that change no behaviour -> the reason."""
    return {(item["module"], item["line"], item["mutant"]): item["reason"] for item in _table().get("equivalent", [])}


def _table() -> dict[str, Any]:
    return tomllib.loads(LIST.read_text(encoding="utf-8"))
