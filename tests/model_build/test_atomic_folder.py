import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model_build import atomic_folder as module
from model_build.atomic_folder import OutputError, atomic_folder, detect_full_disk


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/manifest.json").write_text("old")
    (tmp_path / "model/only in the old one").write_text("x")
    return tmp_path / "model"


@pytest.fixture(params=["exchange", "two renames"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "two renames":
        monkeypatch.setattr(module, "_exchange", lambda one, other: False)
    return request.param


def replace(out: Path, text: str = "new") -> None:
    with atomic_folder(out, "manifest.json") as folder:
        (folder / "manifest.json").write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


OLD = {"manifest.json": "old", "only in the old one": "x"}


def test_the_new_folder_replaces_the_old_one_and_nothing_is_left_beside_it(out: Path, method: str) -> None:
    replace(out)
    assert content(out) == {"manifest.json": "new"}
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_missing_folder_is_created_with_its_parents(tmp_path: Path, method: str) -> None:
    replace(tmp_path / "a/b/model")
    assert content(tmp_path / "a/b/model") == {"manifest.json": "new"}
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["model"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("x")])
def test_any_error_leaves_the_old_folder_unchanged(out: Path, method: str, error: BaseException) -> None:
    def fail() -> None:
        with atomic_folder(out, "manifest.json") as folder:
            (folder / "manifest.json").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert content(out) == OLD
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_disk_found_full_at_the_end_leaves_the_old_folder_unchanged(
    out: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace(out)
    assert content(out) == OLD


def test_a_failed_second_rename_is_undone(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name == "model.partial":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(module, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"):
        replace(out)
    assert content(out) == OLD
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_the_old_folder_is_restored_after_a_build_was_killed_between_two_renames(out: Path) -> None:
    out.rename(out.with_name("model.previous"))
    with atomic_folder(out, "manifest.json") as folder:
        assert content(out) == OLD
        (folder / "manifest.json").write_text("new")
    assert content(out) == {"manifest.json": "new"}
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_killed_build_leaves_the_old_folder_and_the_next_build_removes_the_partial_one(out: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from model_build.atomic_folder import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1]), 'manifest.json') as folder:\n"
        "    (folder / 'work').mkdir(); (folder / 'work/half').write_text('half'); print('started', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"started\n"
        with pytest.raises(OutputError, match=r"another build is writing to .*model\.partial"):
            replace(out)
        killed.send_signal(signal.SIGKILL)
    assert content(out) == OLD
    replace(out)
    assert content(out) == {"manifest.json": "new"}
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_build_started_while_another_deletes_the_old_model_loses_nothing(
    out: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second build is refused: at its start, or at its end if it got a folder of its own."""
    rmtree = shutil.rmtree
    events: list[str] = []

    def while_clearing(path: Path, ignore_errors: bool = False) -> None:
        if (out / "manifest.json").read_text() == "first" and not events:
            events.append("started")
            try:
                with atomic_folder(out, "manifest.json") as folder:
                    (folder / "manifest.json").write_text("second")
                    rmtree(path, ignore_errors=True)  # the first build continues
                    events.append((folder / "manifest.json").read_text())
            except OutputError:
                events.append("refused")
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", while_clearing)
    replace(out, "first")
    monkeypatch.undo()
    expected = {"exchange": ["refused"], "two renames": ["second", "refused"]}[method]
    assert events == ["started", *expected]
    assert content(out) == {"manifest.json": "first"}
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_complete_model_exists_at_every_moment(out: Path, tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    for name in ("one", "other"):
        (probe / name).mkdir(parents=True)
    exchange = 2  # RENAME_EXCHANGE of <linux/fs.h>; -100 is AT_FDCWD of <fcntl.h>
    if ctypes.CDLL(None).renameat2(-100, bytes(probe / "one"), -100, bytes(probe / "other"), exchange):
        pytest.skip("two folders that change places: TMPDIR on a file system that can exchange them, such as ext4")
    assert module._exchange(probe / "one", probe / "other")
    done = threading.Event()
    missing: list[str] = []

    def watch() -> None:
        while not done.is_set():
            try:
                (out / "manifest.json").read_text()
            except OSError as error:
                missing.append(str(error))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(200):
        replace(out, str(number))
    done.set()
    watcher.join()
    assert missing == []


def test_a_link_to_a_model_stays_a_link(out: Path, tmp_path: Path, method: str) -> None:
    (tmp_path / "link").symlink_to(out)
    replace(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert content(out) == {"manifest.json": "new"}


def test_a_folder_that_is_not_a_model_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs/wedding.jpg").write_text("precious")
    with pytest.raises(OutputError, match=r"photographs exists and was not made here \(manifest\.json is missing\)"):
        replace(tmp_path / "photographs")
    assert content(tmp_path / "photographs") == {"wedding.jpg": "precious"}
    with pytest.raises(OutputError, match=r"wedding\.jpg exists and was not made here"):
        replace(tmp_path / "photographs/wedding.jpg")


def test_an_empty_folder_may_be_filled(tmp_path: Path, method: str) -> None:
    (tmp_path / "model").mkdir()
    replace(tmp_path / "model")
    assert content(tmp_path / "model") == {"manifest.json": "new"}


# More bytes than any disk has free, and none.
@pytest.mark.parametrize(
    ("needed", "error", "told"),
    [
        (1 << 62, ValueError("half a graph"), "No space left on device"),
        (0, ValueError("half a graph"), "half a graph"),
        (1 << 62, PermissionError(13, "Permission denied"), "Permission denied"),
    ],
    ids=["too little is free", "enough is free", "the system has said why"],
)
def test_an_error_of_native_code_is_a_full_disk_only_if_too_little_is_free(
    tmp_path: Path, needed: int, error: Exception, told: str
) -> None:
    with pytest.raises((OSError, ValueError), match=told), detect_full_disk(tmp_path, needed):
        raise error
