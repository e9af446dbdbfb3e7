"""The messages of the command if it cannot compare. test_runs compares with real processes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from bench import sources
from bench.cpus import VerifyError, sysroot
from bench.cpus import __main__ as command
from bench.cpus.__main__ import CANNOT_RUN, main, readable
from model_build.data.dataset import DataError, Example
from tests import needs
from tests.support import RED, encoded, plain, write_model


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The emulators are installed, and no demo was run."""
    monkeypatch.setattr(command, "require_tools", lambda: None)
    monkeypatch.setattr(sources, "DEMO_INPUTS", tmp_path / "inputs.json")


def test_without_a_demo_the_data_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == CANNOT_RUN
    assert capsys.readouterr().err == ("verify-cpus: no photographs: name the data set with --data (make: DATA=...)\n")


def test_the_demos_inputs_are_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inputs.json").write_text(f'{{"inputs": {{"data": "{tmp_path}/gone", "weights": "random"}}}}')
    assert main(["--model", str(write_model(tmp_path / "model"))]) == CANNOT_RUN
    assert f"{tmp_path}/gone" in capsys.readouterr().err


def test_a_model_that_was_never_built_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "none"), "--data", str(tmp_path)]) == CANNOT_RUN
    assert f"verify-cpus: no model in {tmp_path}/none: make one first (`make model`" in capsys.readouterr().err


def test_the_number_of_photographs_must_be_positive(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--photographs", "0"])
    assert "argument --photographs: it must be a whole number of 1 or more" in capsys.readouterr().err


def test_unreadable_pictures_are_replaced_by_others(tmp_path: Path) -> None:
    examples = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"no picture" if number in (0, 4) else encoded(plain(RED)))
        examples.append(Example(path, number // 4, hashlib.sha256(path.read_bytes()).hexdigest()))
    chosen = readable(examples, 4, 32)
    assert len(chosen) == 4
    assert not {path.name for path in chosen} & {"0.png", "4.png"}
    with pytest.raises(DataError, match="none of the test pictures can be read"):
        readable([examples[0], examples[4]], 4, 32)


def test_the_output_of_a_failed_tool_is_shown(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        needs.skip("dpkg-deb", "run on Debian or Ubuntu")
    with pytest.raises(VerifyError, match=r"(?s)`dpkg-deb --extract .*exit status 2.*nothing\.deb"):
        sysroot._run(["dpkg-deb", "--extract", str(tmp_path / "nothing.deb"), str(tmp_path)])
