"""Commands for a deployed stack start without the machinery that builds a model or emulates AWS."""

from __future__ import annotations

import subprocess
import sys

from ops import ROOT


def test_the_commands_import_no_translator_no_emulator_and_no_tensorflow() -> None:
    names = ("backfill", "labels", "redrive", "review.__main__", "shadow", "testset")
    commands = ", ".join(f"ops.{name}" for name in names)
    code = f"import sys, {commands}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"local", "moto", "samtranslator", "tensorflow"}
