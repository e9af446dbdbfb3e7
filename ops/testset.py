"""Upload a labelled test set to the bucket of a deployed stack: `make testset [DIR=...] [STACK=...]`.

    python -m ops.testset [DIR] [--stack NAME] [--model DIR] [--delete]

Without DIR, a folder with a folder of pictures for each label, the test set is the model's own: the pictures that its
build kept for testing. A picture that the model learned from is refused, whatever its name: the report would look
better than the model is.

Pictures that the bucket already has, with the same content, are not sent again. Files that the labeller cannot read are
left out and named. Objects that are not in DIR stay, unless --delete is given.

Exit status: 0; 1 it could not be done; 2 wrong arguments; 3 some files were left out.
"""

from __future__ import annotations

import hashlib
import mimetypes
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

from labeller.decoder_process import decode
from labeller.images import Unreadable
from labeller.results import RESERVED_LABELS
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from labeller.text import printable
from model_build.data.folders import DataError, files_below, label_folders
from model_build.data.inventory import Inventory, read_inventory
from model_build.progress import progress_bar
from ops.cli import CommandError, add_stack_argument, command_parser, exit_status, folder
from ops.local_stack import BUILT, model_folder
from ops.stack import describe_stack
from score.testset import TESTSET_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

BUCKET_OUTPUT = "ReportsBucketName"  # of template.yaml
SPLITS = {"train", "validation", "test"}
_SENDERS = 8  # threads; an upload mostly waits for the network
_SIZE = (32, 32)  # pixels; it only matters whether the file can be decoded


class UploadError(CommandError):
    """The test set cannot be uploaded; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of an upload."""

    uploaded: int
    unchanged: int
    left_out: Mapping[str, str]  # file -> reason
    others: tuple[str, ...]  # keys under testset/ that are not in the folder
    deleted: bool  # whether the others were deleted


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.testset", __doc__)
    parser.add_argument(
        "folder",
        type=folder,
        metavar="DIR",
        nargs="?",
        help="a folder with a folder of pictures for each label [the test pictures of the model's build]",
    )
    parser.add_argument("--model", type=Path, help="the deployed model [build/model]")
    add_stack_argument(parser)
    parser.add_argument("--delete", action="store_true", help="delete objects of the test set that are not in DIR")
    options = parser.parse_args(arguments)

    def run() -> int:
        bucket = describe_stack(options.stack).output(BUCKET_OUTPUT)
        summary = upload(boto3.client("s3"), bucket, options.folder, options.delete, model_folder(options.model))
        print_summary(summary, bucket)
        return 3 if summary.left_out else 0

    return exit_status(run, OSError)


def upload(s3: S3Client, bucket: str, folder: Path | None, delete: bool = False, model: Path = BUILT) -> Summary:
    """Make testset/ in the bucket hold the pictures of `folder`, or, if that is None, the test pictures of the build of
    `model`. Raises UploadError, ClientError.
    """
    left_out: dict[str, str] = {}
    files = dict(own_test_pictures(model) if folder is None else _pictures(folder, left_out))
    if folder is not None:
        _refuse_learned(files, model)
    stored = _list_stored(s3, bucket)

    def send(key: str) -> bool:
        """Whether the file had to be uploaded."""
        path = files[key]
        content = path.read_bytes()
        try:
            decode(content, _SIZE, DEFAULT_MAX_IMAGE_PIXELS)
        except Unreadable as error:
            left_out[str(path)] = str(error)
            return False
        sha256 = hashlib.sha256(content).hexdigest()
        if key in stored and _is_same(s3, bucket, stored[key], content, sha256):
            return False
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type, Metadata={"sha256": sha256})
        except ClientError as error:
            raise UploadError(f"{path} could not be uploaded: {error}") from error
        return True

    uploaded = 0
    with progress_bar(len(files), "pictures") as advance, ThreadPoolExecutor(_SENDERS) as pool:
        for is_sent in pool.map(send, files):
            uploaded += is_sent
            advance(1)
    others = tuple(sorted(stored.keys() - files.keys()))
    if delete:
        _delete(s3, bucket, others)
    unchanged = len(files) - uploaded - sum(str(path) in left_out for path in files.values())
    return Summary(uploaded, unchanged, left_out, others, delete)


def print_summary(summary: Summary, bucket: str) -> None:
    """Print the result; the files left out go to standard error."""
    print(f"{summary.uploaded} uploaded to s3://{bucket}/{TESTSET_PREFIX}, {summary.unchanged} already there.")
    for path, reason in sorted(summary.left_out.items()):
        print(printable(f"left out: {path}: {reason}"), file=sys.stderr)
    if summary.others and summary.deleted:
        print(f"{len(summary.others)} that are not in the folder were deleted.")
    elif summary.others:
        example = printable(summary.others[0])
        print(
            f"{len(summary.others)} in the bucket are not in the folder and stay, such as {example}. "
            "--delete (make: DELETE=1) deletes them."
        )


def own_test_pictures(model: Path) -> Iterator[tuple[str, Path]]:
    """Key and file of every test picture of the model's build. Raises UploadError."""
    inventory = _inventory(model)
    if inventory is None:
        raise UploadError(
            f"{model} does not say which pictures it was tested on. Name a folder of pictures (make testset: DIR=..., "
            "make nightly: DATA=...)"
        )
    for picture in inventory.test:
        path = inventory.root / picture.path
        named = f"{path}, a test picture of {model},"
        if not path.is_file():
            raise UploadError(f"{named} is no longer there. Put it back, or name a folder of pictures")
        if hashlib.sha256(path.read_bytes()).hexdigest() != picture.sha256:
            raise UploadError(f"{named} has changed since the build. Build again, or name a folder of pictures")
        yield f"{TESTSET_PREFIX}{picture.label}/{picture.name}", path


def _refuse_learned(files: Mapping[str, Path], model: Path) -> None:
    inventory = _inventory(model)
    learned = inventory.learned if inventory else {}
    known = {path: learned.get(hashlib.sha256(path.read_bytes()).hexdigest()) for path in files.values()}
    refused = [(path, picture) for path, picture in known.items() if picture is not None]
    if refused:
        path, picture = refused[0]
        raise UploadError(
            f"{len(refused)} of {len(files)} pictures are ones that {model} learned from, such as {path} "
            f"({picture.path} of the build): the report would look better than the model is. Leave out DIR to send the "
            "pictures that the build kept for testing"
        )


def _inventory(model: Path) -> Inventory | None:
    try:
        return read_inventory(model)
    except ValueError as error:
        raise UploadError(str(error)) from error


def _pictures(folder: Path, left_out: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Key and file of every picture; files that cannot be one are added to `left_out`. Raises UploadError."""
    if not folder.is_dir():
        raise UploadError(f"there is no folder {folder}")
    try:
        labels = label_folders(folder, {})
    except DataError as error:
        raise UploadError(str(error)) from error
    if set(labels) & SPLITS:
        raise UploadError(f"{folder} is a whole data set, with {', '.join(labels)}; name {folder / 'test'}")
    if reserved := sorted(set(labels) & RESERVED_LABELS):
        raise UploadError(f"{folder}: {', '.join(reserved)} cannot be labels; rename those folders")
    no_pictures: dict[Path, str] = {}
    files = [(label, path) for label, below in labels.items() for path in files_below(below, no_pictures)]
    left_out.update({str(path): reason for path, reason in no_pictures.items()})
    for label, path in files:
        yield f"{TESTSET_PREFIX}{label}/{path.relative_to(labels[label]).as_posix()}", path
    if not files:
        raise UploadError(f"{folder} has no pictures in label folders: DIR/<label>/picture.jpg")


def _list_stored(s3: S3Client, bucket: str) -> dict[str, ObjectTypeDef]:
    """Every object of the test set, by key, as S3 lists it."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=TESTSET_PREFIX)
    return {entry["Key"]: entry for page in pages for entry in page.get("Contents", [])}


def _is_same(s3: S3Client, bucket: str, stored: ObjectTypeDef, content: bytes, sha256: str) -> bool:
    if stored["Size"] != len(content):
        return False
    # The ETag is the MD5, except under KMS and for uploads in parts: then our own SHA-256 decides.
    if stored["ETag"].strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest():
        return True
    return s3.head_object(Bucket=bucket, Key=stored["Key"])["Metadata"].get("sha256") == sha256


def _delete(s3: S3Client, bucket: str, keys: tuple[str, ...]) -> None:
    for start in range(0, len(keys), 1000):  # the limit of DeleteObjects
        batch = keys[start : start + 1000]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True})
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise UploadError(f"{first['Key']} could not be deleted: {first['Code']}: {first.get('Message', '')}")


if __name__ == "__main__":
    sys.exit(main())
