"""Commands for a deployed stack start without the machinery that builds a model or emulates AWS."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ops import ROOT


@pytest.mark.parametrize("command", ["backfill", "labels", "redrive", "shadow", "testset"])
def test_a_command_imports_no_translator_no_emulator_and_no_tensorflow(command: str) -> None:
    code = f"import sys, ops.{command}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"local", "moto", "samtranslator", "tensorflow"}
