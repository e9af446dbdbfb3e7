"""Fetch public photographs of cats and dogs, those of Keras' own tutorials: `make photographs`.

    python -m local.photographs [--mirror URL]

2,000 photographs for training, 500 for validation and 500 for test, in `photographs/`. The download continues where an
earlier one stopped. The folder appears when every photograph is there and was decoded.
"""

from __future__ import annotations

import errno
import hashlib
import re
import sys
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import requests

from labeller.decoder_process import decode
from labeller.images import Unreadable
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from model_build.atomic_folder import OutputError, atomic_folder
from model_build.data.folders import MAX_BYTES
from model_build.progress import progress_bar
from ops.cli import CommandError, command_parser, exit_status

ARCHIVE = "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip"
"""A part of the Asirra data set (Elson et al. 2007), published for TensorFlow's tutorials; 69 MB."""

FOLDER = Path("photographs")

SOURCE = "SOURCE.txt"
"""The file that names the archive. It marks a folder that may be replaced."""

MEMBER = re.compile(r"cats_and_dogs_filtered/(train|validation)/(cats|dogs)/((?:cat|dog)\.([0-9]{1,5})\.jpg)")

COUNTS = {"train": 1000, "validation": 500}
"""Photographs of each label that the archive has."""

MEGABYTE = 1_000_000

LARGEST = 200 * MEGABYTE
"""No archive of the photographs is larger."""

CHUNK = 2**14
"""Bytes written at once; a cut connection loses at most so many."""

TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and between two packets."""


class DownloadError(CommandError):
    """The photographs could not be fetched; the message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Fetch the photographs; returns the exit status."""
    parser = command_parser("local.photographs", __doc__)
    parser.add_argument("--mirror", default=ARCHIVE, metavar="URL", help=f"address of the archive [{ARCHIVE}]")
    options = parser.parse_args(arguments)

    def command() -> int:
        folder = fetch(options.mirror)
        print(f"The photographs are in {folder}. Next: make model DATA={folder}")
        return 0

    return exit_status(command, OutputError, OSError)


def unreachable(url: str) -> str | None:
    """Why `url` cannot be downloaded, in a few words; None if a server has it."""
    try:
        requests.head(url, timeout=TIMEOUT, allow_redirects=True).raise_for_status()
    except requests.RequestException as error:
        return _reason(error)
    return None


def downloaded(out: Path = FOLDER) -> bool:
    """Whether `out` has the photographs."""
    return (out / SOURCE).is_file()


def fetch(url: str = ARCHIVE, out: Path = FOLDER) -> Path:
    """Download and unpack the archive unless `out` has the photographs; returns `out`.

    Raises DownloadError, after which a second call continues, and OutputError if `out` holds something else.
    """
    if downloaded(out):
        return out
    address = hashlib.sha256(url.encode()).hexdigest()[:8]  # a part of one mirror's file does not continue another's
    archive = out.with_name(f"{out.name}.{address}.part")
    try:
        with atomic_folder(out, SOURCE) as folder:
            print(f"Photographs of cats and dogs are fetched from {url} ...", flush=True)
            download(url, archive)
            unpack(archive, folder)
            (folder / SOURCE).write_text(f"{url}\nIts validation folder is halved into validation and test.\n", "utf-8")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        free = "150 MB are needed; `make photographs` continues the download"
        raise DownloadError(f"no space left for {out.absolute()}: {free}") from error
    archive.unlink()
    return out


def download(url: str, path: Path) -> None:
    """Download `url` to `path`, which may hold the beginning of an earlier download.

    A cut connection is opened again as long as each one brings more. Raises DownloadError; `path` keeps what has come.
    """
    while True:
        start = _size(path)
        try:
            return _download_from(start, url, path)
        except requests.RequestException as error:
            if start < _size(path):
                continue
            kept = f". {_size(path) / MEGABYTE:.0f} MB are kept: `make photographs` continues" if _size(path) else ""
            raise DownloadError(f"{url} could not be downloaded: {_reason(error)}{kept}") from error


def unpack(archive: Path, folder: Path) -> None:
    """Write the photographs to `folder`/<split>/<label>/. The archive's validation pictures with an even number are for
    validation, the others for test.

    Raises DownloadError, and deletes the archive, if it is damaged, lacks photographs or has one that is not decodable.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [
                (member, match)
                for member in zipped.infolist()
                if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                and (match := MEMBER.fullmatch(member.filename))
            ]
            _require_complete(
                Counter((split, label) for split, label, _ in {match.group(1, 2, 3) for _, match in members})
            )
            with progress_bar(len(members), "photographs") as advance:
                for member, match in members:
                    content = _read_picture(zipped, member)
                    split = "test" if match[1] == "validation" and int(match[4]) % 2 else match[1]
                    path = folder / split / match[2] / match[3]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                    advance(1)
    except (DownloadError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        archive.unlink()
        raise DownloadError(
            f"the archive is not the expected one, or damaged: {error}. It is deleted; try again, or name another "
            "address (make: MIRROR=URL)"
        ) from error


def _download_from(start: int, url: str, path: Path) -> None:
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.headers.get("Content-Range") == f"bytes */{start}":
            return  # nothing is missing
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            path.unlink()  # the server has another file now
            raise requests.ConnectionError("the server's file has changed; try again")
        response.raise_for_status()
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the server sends the whole file
        length = response.headers.get("Content-Length", "")
        total = start + (int(length) if length.isdecimal() else 0)
        with path.open("ab" if start else "wb") as file, progress_bar(total // MEGABYTE, "MB") as advance:
            advance(start // MEGABYTE)
            for chunk in response.iter_content(CHUNK):
                if start + len(chunk) > LARGEST:
                    path.unlink()
                    raise DownloadError(f"{url} has more than {LARGEST // MEGABYTE} MB; it is another file")
                file.write(chunk)
                advance((start + len(chunk)) // MEGABYTE - start // MEGABYTE)
                start += len(chunk)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_picture(zipped: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A photograph's content. DownloadError if it is too large or not decodable."""
    with zipped.open(member) as file:
        content = file.read(MAX_BYTES + 1)  # whatever size the archive claims
    if len(content) > MAX_BYTES:
        raise DownloadError(f"{member.filename} has more than {MAX_BYTES} bytes")
    try:
        decode(content, (32, 32), DEFAULT_MAX_IMAGE_PIXELS)
    except Unreadable as error:
        raise DownloadError(f"{member.filename}: {error}") from error
    return content


def _require_complete(counts: Counter[tuple[str | None, str | None]]) -> None:
    """Raise DownloadError unless every split and label has its photographs."""
    for split, wanted in COUNTS.items():
        for label in ("cats", "dogs"):
            if counts[split, label] != wanted:
                raise DownloadError(f"it has {counts[split, label]} photographs in {split}/{label}, not {wanted}")


def _reason(error: requests.RequestException) -> str:
    """The innermost cause, which is what a person can act on."""
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    return str(cause)


if __name__ == "__main__":
    sys.exit(main())
