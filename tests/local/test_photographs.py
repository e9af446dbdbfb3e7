"""The public photographs, fetched from a server on this machine that misbehaves as servers and networks do."""

from __future__ import annotations

import io
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from local import photographs
from local.demo.drawn import draw_picture
from local.photographs import CHUNK, DownloadError, fetch
from model_build.atomic_folder import OutputError
from model_build.data.dataset import scan
from model_build.data.folders import MAX_BYTES

COUNTS = {"train": 10, "validation": 10}
ROOT = "cats_and_dogs_filtered"


def archive(pictures: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, picture in pictures.items():
            zipped.writestr(name, picture)
    return content.getvalue()


@cache
def pictures() -> dict[str, bytes]:
    """As in the published archive, which also has a script and, made on a Mac, may have resource forks."""
    names = [
        f"{ROOT}/{split}/{animal}s/{animal}.{first + number}.jpg"
        for split, first in (("train", 0), ("validation", 2000))
        for animal in ("cat", "dog")
        for number in range(COUNTS[split])
    ]
    drawn = {name: draw_picture(number, "JPEG") for number, name in enumerate(names)}
    return {f"{ROOT}/vectorize.py": b"pass", f"__MACOSX/{ROOT}/train/cats/._cat.0.jpg": b"fork", **drawn}


@dataclass
class Server:
    """Serves `content` and cuts a connection after `cut` bytes as often as `cuts` says."""

    content: bytes
    ranges: bool = True
    status: int | None = None
    cut: int = 0
    cuts: int = 0
    closed_after: int | None = None
    requested: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(photographs, "COUNTS", COUNTS)
    state = Server(archive(pictures()))

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(state.status or 200)
            self.end_headers()

        def do_GET(self) -> None:
            requested = self.headers["Range"]
            state.requested.append(requested)
            if state.closed_after is not None and len(state.requested) > state.closed_after:
                return  # closes the connection without an answer
            start = int(requested.removeprefix("bytes=").rstrip("-")) if requested and state.ranges else 0
            total = len(state.content)
            if state.status or start >= total:
                self.send_response(state.status or 416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cuts:
                state.cuts -= 1
                body = body[: state.cut]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/cats.zip"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield state
        http.shutdown()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "photographs"


def part(out: Path, url: str) -> Path:
    """The part of a download from `url`."""
    return out.with_name(f"photographs.{sha256(url.encode()).hexdigest()[:8]}.part")


def test_the_folder_is_a_data_set_with_the_archive_s_validation_halved_into_validation_and_test(
    server: Server, out: Path
) -> None:
    data = scan(fetch(server.url, out))
    assert data.counts() == {
        "train": {"cats": 10, "dogs": 10},
        "validation": {"cats": 5, "dogs": 5},
        "test": {"cats": 5, "dogs": 5},
    }
    assert sorted(path.name for path in (out / "test/dogs").iterdir()) == [f"dog.{n}.jpg" for n in range(2001, 2010, 2)]
    assert (out / "train/cats/cat.3.jpg").read_bytes() == pictures()[f"{ROOT}/train/cats/cat.3.jpg"]
    assert [path.name for path in out.parent.iterdir()] == ["photographs"]


def test_a_second_call_downloads_nothing(server: Server, out: Path) -> None:
    fetch(server.url, out)
    fetch(server.url, out)
    assert server.requested == [None]


def test_a_cut_connection_is_continued_where_it_was_cut(server: Server, out: Path) -> None:
    server.cut, server.cuts = CHUNK, 2
    fetch(server.url, out)
    assert server.requested == [None, f"bytes={CHUNK}-", f"bytes={2 * CHUNK}-"]


def test_a_server_without_ranges_sends_the_whole_file_again(server: Server, out: Path) -> None:
    server.cut, server.cuts, server.ranges = CHUNK, 1, False
    assert scan(fetch(server.url, out)).counts()["train"] == {"cats": 10, "dogs": 10}


def test_when_the_network_stays_cut_the_part_is_kept_and_the_next_call_continues(server: Server, out: Path) -> None:
    server.cut, server.cuts = CHUNK, 1
    server.closed_after = 1
    with pytest.raises(DownloadError, match=r"could not be downloaded: .*0 MB are kept: `make photographs` continues"):
        fetch(server.url, out)
    assert not out.exists()
    assert part(out, server.url).read_bytes() == server.content[:CHUNK]
    server.closed_after = None
    fetch(server.url, out)
    assert server.requested[-1] == f"bytes={CHUNK}-"


def test_a_part_of_another_address_is_not_continued(server: Server, out: Path) -> None:
    part(out, "http://127.0.0.1:9/cats.zip").write_bytes(b"of another file")
    fetch(server.url, out)
    assert server.requested == [None]


def test_a_part_that_is_whole_is_only_unpacked(server: Server, out: Path) -> None:
    part(out, server.url).write_bytes(server.content)
    assert scan(fetch(server.url, out)).counts()["test"] == {"cats": 5, "dogs": 5}


def test_a_part_longer_than_the_server_s_file_is_thrown_away(server: Server, out: Path) -> None:
    part(out, server.url).write_bytes(server.content + b"more")
    with pytest.raises(DownloadError, match="the server's file has changed; try again"):
        fetch(server.url, out)
    assert scan(fetch(server.url, out)).counts()["test"] == {"cats": 5, "dogs": 5}


def without(name: str) -> bytes:
    return archive({key: value for key, value in pictures().items() if not key.endswith(name)})


def twice() -> bytes:
    """As many photographs as expected, but one name stands twice and one is missing."""
    content = io.BytesIO(without("train/cats/cat.7.jpg"))
    with warnings.catch_warnings(), zipfile.ZipFile(content, "a") as zipped:
        warnings.simplefilter("ignore", UserWarning)  # of the name
        zipped.writestr(f"{ROOT}/train/cats/cat.6.jpg", pictures()[f"{ROOT}/train/cats/cat.6.jpg"])
    return content.getvalue()


def replaced(name: str, content: bytes) -> bytes:
    return archive({key: content if key.endswith(name) else value for key, value in pictures().items()})


def flipped() -> bytes:
    """One bit of the first photograph's data is wrong."""
    content = bytearray(archive(pictures()))
    content[content.index(b"train/cats/cat.0.jpg") + 400] ^= 1
    return bytes(content)


def huge() -> bytes:
    """A small JPEG whose header claims 30,000 x 30,000 pixels."""
    content = bytearray(draw_picture(1, "JPEG"))
    size = content.index(b"\xff\xc0") + 5  # after marker, length and precision
    content[size : size + 4] = (30_000).to_bytes(2, "big") * 2
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"<html>not found</html>", "not a zip file"),
        (lambda: without("train/cats/cat.7.jpg"), "it has 9 photographs in train/cats, not 10"),
        (lambda: without(".jpg"), "it has 0 photographs in train/cats, not 10"),
        (twice, "it has 9 photographs in train/cats, not 10"),
        (lambda: replaced("train/dogs/dog.4.jpg", b"not a picture"), r"dog\.4\.jpg: NOT_AN_IMAGE"),
        (lambda: replaced("train/dogs/dog.4.jpg", draw_picture(1, "JPEG")[:700]), r"dog\.4\.jpg: (TRUNCATED|CORRUPT)"),
        (lambda: replaced("train/dogs/dog.4.jpg", huge()), r"dog\.4\.jpg: TOO_MANY_PIXELS"),
        (lambda: replaced("train/dogs/dog.4.jpg", bytes(MAX_BYTES + 1)), r"dog\.4\.jpg has more than \d+ bytes"),
        (flipped, r"cat\.0\.jpg"),
    ],
    ids=[
        "a page",
        "one missing",
        "all missing",
        "one twice",
        "no picture",
        "cut",
        "a bomb",
        "too large",
        "a wrong bit",
    ],
)
def test_a_wrong_file_is_refused_and_deleted_and_leaves_no_folder(
    server: Server, out: Path, content: Callable[[], bytes], reason: str
) -> None:
    server.content = content()
    with pytest.raises(DownloadError, match=rf"{reason}.*It is deleted; try again, or name another address"):
        fetch(server.url, out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["../../escape.jpg", "train/../../cats/cat.1.jpg"])
def test_a_hostile_name_in_the_archive_is_not_written(server: Server, out: Path, name: str) -> None:
    server.content = archive({**pictures(), f"{ROOT}/{name}": b"x", name: b"x"})
    fetch(server.url, out)
    written = [path for path in out.parent.rglob("*") if path.is_file()]
    assert {path.name for path in written if path.suffix != ".jpg"} == {photographs.SOURCE}
    assert len(written) == 41
    assert all(path.parent.name in ("cats", "dogs", "photographs") for path in written)


def test_a_file_that_does_not_end_is_given_up_and_deleted(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs, "LARGEST", 2 * CHUNK)
    with pytest.raises(DownloadError, match="has more than 0 MB; it is another file"):
        fetch(server.url, out)
    assert list(out.parent.iterdir()) == []


def test_an_error_of_the_server_is_named(server: Server, out: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match="could not be downloaded: the server answered 404 Not Found"):
        fetch(server.url, out)
    assert "404" in (photographs.unreachable(server.url) or "")


def test_unreachable_tells_a_server_that_answers_from_one_that_does_not(server: Server) -> None:
    assert photographs.unreachable(server.url) is None
    assert "refused" in (photographs.unreachable("http://127.0.0.1:9/cats.zip") or "")


def test_somebody_s_own_folder_of_that_name_is_not_replaced(server: Server, out: Path) -> None:
    out.mkdir()
    (out / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"photographs exists"):
        fetch(server.url, out)
    assert server.requested == []
    assert (out / "mine.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("small_disk", [50, 100], indirect=True, ids=["in the download", "while unpacking"])
def test_a_full_disk_is_an_error_after_which_the_download_continues(server: Server, small_disk: Path) -> None:
    with pytest.raises(DownloadError, match=r"no space left for .*/photographs: 150 MB are needed"):
        fetch(server.url, small_disk / "photographs")
    assert [path.name for path in small_disk.iterdir()] == [part(small_disk / "photographs", server.url).name]


def test_another_error_of_the_disk_is_not_told_as_a_full_one(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(photographs, "unpack", fail)
    with pytest.raises(OSError, match="Input/output error"):
        fetch(server.url, out)


def test_the_command_takes_the_public_archive_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    urls: list[str] = []
    monkeypatch.setattr(photographs, "fetch", urls.append)
    assert (photographs.main([]), photographs.main(["--mirror", "https://mirror.example/cats.zip"])) == (0, 0)
    assert urls == [photographs.ARCHIVE, "https://mirror.example/cats.zip"]


def test_the_command_names_the_next_step(server: Server, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert photographs.main(["--mirror", server.url]) == 0
    assert capsys.readouterr().out.endswith("The photographs are in photographs. Next: make model DATA=photographs\n")
    server.status = 500
    assert photographs.main(["--mirror", server.url]) == 0  # they are kept


def test_a_folder_that_may_not_be_written_is_an_error(server: Server, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs.partial").write_bytes(b"a file is in the way")
    assert photographs.main(["--mirror", server.url]) == 1
    assert capsys.readouterr().err.startswith("error: [Errno 17] File exists:")


def test_the_command_says_in_one_line_what_failed(server: Server, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    server.status = 503
    assert photographs.main(["--mirror", server.url]) == 1
    assert capsys.readouterr().err == (
        f"error: {server.url} could not be downloaded: the server answered 503 Service Unavailable\n"
    )
