"""The arguments of `python -m model_build`, and what it prints if it fails; nothing is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_build import __main__ as command
from model_build.config import BuildConfig


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[BuildConfig]:
    """The configurations that would be built."""
    builds: list[BuildConfig] = []

    def run(config: BuildConfig) -> int:
        builds.append(config)
        return 7

    monkeypatch.setattr(command, "run", run)
    return builds


def test_every_option_reaches_the_build_and_its_status_is_the_commands(configured: list[BuildConfig]) -> None:
    paths = ["--data", "pictures", "--out", "elsewhere", "--cache", "kept"]
    assert command.main([*paths, "--weights", "w.h5", "--image-size", "128", "--compress", "3.0"]) == 7
    assert configured == [
        BuildConfig(
            Path("pictures"), weights="w.h5", image_size=128, out=Path("elsewhere"), cache=Path("kept"), speedup=3.0
        )
    ]


def test_without_options_the_settings_are_the_defaults(configured: list[BuildConfig]) -> None:
    command.main([])
    assert configured == [BuildConfig(Path("data"))]


@pytest.mark.parametrize(("given", "speedup"), [("none", 1.0), ("1.5", 1.5), ("20", 20.0)])
def test_a_speed_up_that_makes_sense_is_accepted(configured: list[BuildConfig], given: str, speedup: float) -> None:
    command.main(["--compress", given])
    assert configured == [BuildConfig(Path("data"), speedup=speedup)]


def test_auto_has_the_search_choose_that_axis(configured: list[BuildConfig]) -> None:
    command.main(["--compress", "auto"])
    command.main(["--image-size", "auto", "--compress", "none"])
    default = BuildConfig(Path("data"))
    assert configured == [replace(default, auto_speedup=True), replace(default, auto_size=True, speedup=1.0)]
    assert configured[0].sizes_to_try == (default.image_size,)
    assert configured[0].speedups_to_try == (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
    assert configured[1].sizes_to_try == (192, 224, 256, 288, 320, 352, 384)
    assert configured[1].speedups_to_try == (1.0,)


@pytest.mark.parametrize("given", ["", "large", "22.5"])
def test_a_size_that_is_no_number_is_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([f"--image-size={given}"])
    assert f"{given!r} is neither auto nor a number of pixels" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["1", "0", "-3", "20.1", "nan", "inf", "fast", ""])
def test_a_speed_up_that_makes_none_is_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main([f"--compress={given}"])
    assert caught.value.code == 2
    assert f"{given!r} is not none, auto or a number above 1 and up to 20" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line_and_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(BuildConfig(tmp_path / "nowhere", "random")) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: no folder {tmp_path}/nowhere: it does not exist. A data set is a folder with")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "/disk/part"), "/disk/part: No space left on device"),
        (PermissionError(13, "Permission denied", "w.h5"), "w.h5: Permission denied"),
        (OSError(5, "Input/output error"), "out/model: Input/output error"),
        (OSError("the tape\nis torn"), "out/model: the tape is torn"),
    ],
)
def test_an_error_of_the_system_names_its_file_and_its_cause(
    error: OSError, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_build import build as module  # TensorFlow takes seconds to import

    def fail(_config: BuildConfig) -> None:
        raise error

    monkeypatch.setattr(module, "build", fail)
    assert command.run(BuildConfig(tmp_path, "random", out=Path("out/model"))) == 1
    assert capsys.readouterr().err == f"\nerror: {line}. No model was built; out/model is unchanged\n"


def test_a_finished_build_has_exit_status_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_build import build as module

    monkeypatch.setattr(module, "build", lambda _config: tmp_path)
    assert command.run(BuildConfig(tmp_path, "random")) == 0
