"""Upload a labelled test set, DIR/<label>/..., to the bucket of a deployed stack: `make testset DIR=... [STACK=...]`.

    python -m ops.testset DIR [--stack NAME] [--delete]

Pictures that are there already, with the same content, are not sent again. Files that the labeller could not read are
left out and named. What is in the bucket and not in DIR stays, unless --delete is given.

Exit status: 0; 1 nothing was done, for a reason given; 2 wrong arguments; 3 some files were left out.
"""

from __future__ import annotations

import hashlib
import mimetypes
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from labeller.images import Unreadable, decode
from labeller.results import RESERVED_LABELS
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from model_build.progress import progress_bar
from ops.cli import CommandError, add_stack_argument, command_parser, exit_status, folder
from ops.stack import describe_stack
from score.testset import TESTSET_PREFIX

BUCKET_OUTPUT = "ReportsBucketName"  # of template.yaml
SPLITS = {"train", "validation", "test"}
_SENDERS = 8  # threads; an upload waits for the network most of the time
_SIZE = (32, 32)  # pixels; only whether a file can be decoded counts


class UploadError(CommandError):
    """The test set cannot be uploaded; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was done."""

    uploaded: int
    unchanged: int
    left_out: Mapping[str, str]  # file -> why
    others: tuple[str, ...]  # keys under testset/ that are not in the folder
    deleted: bool  # whether these were deleted


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.testset", __doc__)
    parser.add_argument("folder", type=folder, metavar="DIR", help="a folder of pictures for each label")
    add_stack_argument(parser)
    parser.add_argument("--delete", action="store_true", help="delete what is in the bucket and not in DIR")
    options = parser.parse_args(arguments)

    def run() -> int:
        bucket = describe_stack(options.stack).output(BUCKET_OUTPUT)
        summary = upload(boto3.client("s3"), bucket, options.folder, options.delete)
        print_summary(summary, bucket)
        return 3 if summary.left_out else 0

    return exit_status(run, OSError)


def upload(s3: Any, bucket: str, folder: Path, delete: bool = False) -> Summary:
    """Make testset/ in the bucket hold the pictures of `folder`. Raises UploadError, ClientError."""
    files = dict(_pictures(folder))
    there = _listed(s3, bucket)
    left_out: dict[str, str] = {}

    def send(key: str) -> bool:
        """Whether it had to be uploaded."""
        path = files[key]
        content = path.read_bytes()
        try:
            decode(content, _SIZE, DEFAULT_MAX_IMAGE_PIXELS)
        except Unreadable as error:
            left_out[str(path)] = str(error)
            return False
        sha256 = hashlib.sha256(content).hexdigest()
        if key in there and _is_same(s3, bucket, key, there[key], content, sha256):
            return False
        s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=content,
            ContentType=mimetypes.guess_type(path.name)[0] or "application/octet-stream",
            Metadata={"sha256": sha256},
        )
        return True

    with progress_bar(len(files), "pictures") as advance, ThreadPoolExecutor(_SENDERS) as pool:
        sent = []
        for uploaded in pool.map(send, files):
            sent.append(uploaded)
            advance(1)
    others = tuple(sorted(set(there) - set(files)))
    if delete:
        _delete(s3, bucket, others)
    uploaded_count = sum(sent)
    return Summary(uploaded_count, len(files) - uploaded_count - len(left_out), left_out, others, delete)


def print_summary(summary: Summary, bucket: str) -> None:
    """What was done, line by line."""
    print(f"{summary.uploaded} uploaded to s3://{bucket}/{TESTSET_PREFIX}, {summary.unchanged} were there already.")
    for path, reason in sorted(summary.left_out.items()):
        print(f"left out: {path}: {reason}", file=sys.stderr)
    if summary.others and summary.deleted:
        print(f"{len(summary.others)} that are not in the folder were deleted.")
    elif summary.others:
        print(
            f"{len(summary.others)} in the bucket are not in the folder and stay, such as {summary.others[0]}. "
            "--delete (make: DELETE=1) deletes them."
        )


def _pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    """Key and file of every picture. Raises UploadError."""
    if not folder.is_dir():
        raise UploadError(f"there is no folder {folder}")
    labels = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if set(labels) & SPLITS:
        raise UploadError(f"{folder} is a whole data set, with {', '.join(labels)}; name {folder / 'test'}")
    if reserved := sorted(set(labels) & RESERVED_LABELS):
        raise UploadError(f"{folder}: {', '.join(reserved)} cannot be labels; rename those folders")
    empty = True
    for label in labels:
        for path in sorted((folder / label).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                empty = False
                yield f"{TESTSET_PREFIX}{label}/{path.relative_to(folder / label).as_posix()}", path
    if empty:
        raise UploadError(f"{folder} has no pictures in label folders: DIR/<label>/picture.jpg")


def _listed(s3: Any, bucket: str) -> dict[str, tuple[int, str]]:
    """Size and ETag of every object of the test set, by key."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=TESTSET_PREFIX)
    found = (item for page in pages for item in page.get("Contents", []))
    return {item["Key"]: (int(item["Size"]), item["ETag"].strip('"')) for item in found}


def _is_same(s3: Any, bucket: str, key: str, there: tuple[int, str], content: bytes, sha256: str) -> bool:
    size, etag = there
    if size != len(content):
        return False
    # An ETag is the MD5 unless the bucket encrypts with KMS or the object came in parts: then our own note decides.
    if etag == hashlib.md5(content, usedforsecurity=False).hexdigest():
        return True
    return bool(s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256") == sha256)


def _delete(s3: Any, bucket: str, keys: tuple[str, ...]) -> None:
    for start in range(0, len(keys), 1000):  # the most that one call takes
        objects = [{"Key": key} for key in keys[start : start + 1000]]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise UploadError(f"{first['Key']} could not be deleted: {first['Code']}: {first.get('Message', '')}")


if __name__ == "__main__":
    sys.exit(main())
