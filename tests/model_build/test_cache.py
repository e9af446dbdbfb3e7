import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from labeller.images import Reason, Unreadable
from model_build.cache import Cache, key_of, source_of


class Maker:
    """Writes two files and counts its calls."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.paths = [folder / "base.onnx", folder / "table.json"]
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        self.paths[0].write_bytes(b"graph")
        self.paths[1].write_bytes(b"")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_files_are_made_once_and_then_copied(cache: Cache, tmp_path: Path) -> None:
    first, second = Maker(tmp_path / "first"), Maker(tmp_path / "second")
    cache.files("key", first.paths, first)
    first.paths[0].write_bytes(b"changed by the caller")
    cache.files("key", second.paths, second)
    assert (first.calls, second.calls) == (1, 0)
    assert [path.read_bytes() for path in second.paths] == [b"graph", b""]


def test_files_of_one_name_in_different_folders_are_kept_apart(cache: Cache, tmp_path: Path) -> None:
    paths = [tmp_path / folder / "base.onnx" for folder in ("one", "two")]

    def make() -> None:
        for path in paths:
            path.parent.mkdir()
            path.write_text(path.parent.name)

    cache.files("key", paths, make)
    for path in paths:
        path.unlink()
    cache.files("key", paths, make)
    assert [path.read_text() for path in paths] == ["one", "two"]


def test_the_result_of_a_maker_is_returned_and_none_for_a_copy(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "made"
    assert cache.files("key", [path], lambda: path.write_text("12345")) == 5
    assert cache.files("key", [path], lambda: path.write_text("12345")) is None


def test_another_key_is_computed_anew(cache: Cache, tmp_path: Path) -> None:
    maker = Maker(tmp_path / "made")
    for key in ("one", "other"):
        cache.files(key, maker.paths, maker)
    assert maker.calls == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:40] + b"#" + path.read_bytes()[41:]),
        lambda path: path.unlink(),
    ],
    ids=["truncated", "emptied", "changed", "deleted"],
)
def test_a_damaged_file_is_computed_again(cache: Cache, tmp_path: Path, damage) -> None:
    maker = Maker(tmp_path / "made")
    cache.files("key", maker.paths, maker)
    (entry,) = cache.folder.glob("*base.onnx")
    damage(entry)
    for _ in range(2):
        cache.files("key", maker.paths, maker)
    assert maker.calls == 2  # the entry is whole again
    assert maker.paths[0].read_bytes() == b"graph"


def test_a_failed_maker_raises_and_nothing_is_kept(cache: Cache, tmp_path: Path) -> None:
    def fail() -> None:
        (tmp_path / "half").write_bytes(b"half")
        raise ValueError("cannot be made")

    with pytest.raises(ValueError, match="cannot be made"):
        cache.files("key", [tmp_path / "half"], fail)
    assert not cache.folder.exists()


def test_an_unwritable_cache_still_gives_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in the way").write_text("")
    cache, maker = Cache(tmp_path / "in the way" / "cache"), Maker(tmp_path / "made")
    cache.files("key", maker.paths, maker)
    assert maker.paths[0].read_bytes() == b"graph"
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_read_only_cache_is_read(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = Maker(tmp_path / "made")
    cache.files("key", maker.paths, maker)
    cache.add_rows("key", [("picture", np.ones(3, np.float32))])

    def refuse(*_: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(os, "utime", refuse)
    cache.files("key", maker.paths, maker)
    assert maker.calls == 1
    np.testing.assert_array_equal(cache.rows("key", ["picture"])["picture"], np.ones(3))
    assert capsys.readouterr().err == ""


def test_rows_without_read_permission_are_not_damaged_and_stay(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.add_rows("key", [("picture", np.ones(3, np.float32))])

    def refuse(path: Path) -> bytes:
        raise PermissionError(f"{path} belongs to somebody else")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert cache.rows("key", ["picture"]) == {}
    assert capsys.readouterr().err == ""
    monkeypatch.undo()
    assert set(cache.rows("key", ["picture"])) == {"picture"}


def test_rows_are_read_as_they_were_written(cache: Cache) -> None:
    rows = {
        "array": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        "unreadable": Unreadable(Reason.TRUNCATED, "only 12 of 40 bytes: é"),
    }
    cache.add_rows("key", rows.items())
    kept = cache.rows("key", ["array", "unreadable", "unknown"])
    assert set(kept) == set(rows)
    np.testing.assert_array_equal(kept["array"], rows["array"])
    assert kept["array"].dtype == np.float32
    assert (kept["unreadable"].reason, kept["unreadable"].detail) == (Reason.TRUNCATED, "only 12 of 40 bytes: é")


def test_concurrent_builds_can_write_the_same_rows(cache: Cache) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from model_build.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "for _ in range(20):\n"
        "    cache.add_rows('key', [(str(n), np.full(9000, n, np.float32)) for n in range(10)])\n"
        "    for name, row in cache.rows('key', map(str, range(10))).items():\n"
        "        assert (row == float(name)).all()\n"
        "assert len(cache.rows('key', map(str, range(10)))) == 10"
    )
    builds = [
        subprocess.Popen([sys.executable, "-c", code, str(cache.folder)], stderr=subprocess.PIPE) for _ in range(3)
    ]
    assert [(build.communicate()[1], build.returncode) for build in builds] == [(b"", 0)] * 3
    assert len(list(cache.folder.iterdir())) == 10  # and no partial file


def test_a_build_killed_while_writing_leaves_no_entry(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt(f"before {path} becomes {target}")

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.add_rows("key", [("picture", np.ones(3, np.float32))])
    monkeypatch.undo()
    assert cache.rows("key", ["picture"]) == {}


def test_the_least_recently_used_entries_are_deleted_above_the_limit(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", limit=150)
    cache.folder.mkdir()
    for age, name in enumerate(["just used", "used before", "long ago"]):
        (cache.folder / name).write_bytes(bytes(70))
        os.utime(cache.folder / name, (time.time() - 1000 * age,) * 2)
    cache.trim()
    assert sorted(path.name for path in cache.folder.iterdir()) == ["just used", "used before"]


def test_reading_an_entry_counts_as_use(cache: Cache) -> None:
    cache.add_rows("key", [("picture", np.ones(3, np.float32))])
    (entry,) = cache.folder.iterdir()
    os.utime(entry, (0, 0))
    cache.rows("key", ["picture"])
    assert entry.stat().st_mtime > time.time() - 60


def test_partial_files_of_killed_builds_are_deleted_after_an_hour(cache: Cache) -> None:
    cache.folder.mkdir()
    for name, age in (("old.partial", 4000), ("new.partial", 10), ("old entry", 4000)):
        (cache.folder / name).write_bytes(b"x")
        os.utime(cache.folder / name, (time.time() - age,) * 2)
    cache.trim()
    assert sorted(path.name for path in cache.folder.iterdir()) == ["new.partial", "old entry"]


def test_trimming_a_missing_cache_does_nothing(cache: Cache) -> None:
    cache.trim()
    assert not cache.folder.exists()


def test_reused_entries_are_those_of_earlier_builds(cache: Cache, tmp_path: Path) -> None:
    maker = Maker(tmp_path / "made")
    for reused in (0, 5):  # a first build, and a second one
        cache.begin()
        cache.files("key", maker.paths, maker)
        if not cache.rows("key", ["a", "b", "c"]):
            cache.add_rows("key", [(name, np.ones(3, np.float32)) for name in ("a", "b", "c")])
            cache.rows("key", ["a"])  # written by this build
        assert cache.reused == reused


def test_keys_depend_on_every_part_and_on_the_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one")
    before = source_of(str(tmp_path / "a.py"))
    assert key_of("a", 1, before) == key_of("a", 1, before)
    (tmp_path / "a.py").write_text("two")
    keys = [
        key_of("a", 1, before),
        key_of("a", 2, before),
        key_of("a", 1),
        key_of("a", 1, source_of(str(tmp_path / "a.py"))),
    ]
    assert len(set(keys)) == 4
