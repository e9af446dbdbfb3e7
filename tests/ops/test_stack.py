"""What a stack says of itself decides which commands work with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labeller.events import ObjectRef
from ops.cli import CommandError
from ops.review.desk import NotFound
from ops.review.uploads import Uploads, item_of
from ops.stack import StackDescription

OWN = StackDescription("pets", {"UploadsBucketName": "pets-uploads"}, {"Write": "tags,row,event"})
EXISTING = StackDescription("pets", {"ExistingBuckets": "photos,scans.2026"}, {"Write": "row"})


def test_it_labels_its_own_bucket_or_existing_ones() -> None:
    assert (OWN.existing_buckets, OWN.buckets) == ([], ["pets-uploads"])
    assert EXISTING.existing_buckets == EXISTING.buckets == ["photos", "scans.2026"]


def test_of_several_buckets_one_must_be_named() -> None:
    assert (OWN.bucket(None), OWN.bucket("other"), EXISTING.bucket("scans.2026")) == (
        "pets-uploads",
        "other",
        "scans.2026",
    )
    with pytest.raises(CommandError, match=r"pets labels photos, scans\.2026: name one"):
        EXISTING.bucket("")
    assert replace(EXISTING, outputs={"ExistingBuckets": "photos"}).bucket("") == "photos"


def test_it_writes_what_its_parameter_says_and_everything_before_there_was_one() -> None:
    assert [EXISTING.writes(what) for what in ("tags", "row", "event")] == [False, True, False]
    assert [replace(OWN, parameters={}).writes(what) for what in ("tags", "row", "event")] == [True] * 3


def test_pictures_of_all_its_buckets_are_reviewed_and_of_no_other() -> None:
    nothing: Any = None
    rest = dict.fromkeys(("dynamodb", "reviewer", "settings", "asked", "aws_pool", "cpu_pool"), nothing)
    desk = Uploads("pets", [], [], frozenset(EXISTING.buckets), "t", **rest)
    row = {
        "bucket": "photos",
        "key": "a b.jpg",
        "version": "null",
        "etag": "e",
        "status": "UNSURE",
        "classified_at": "",
    }
    assert desk._object(item_of(row).id)[0] == ObjectRef("photos", "a b.jpg")
    with pytest.raises(NotFound):
        desk._object(item_of({**row, "bucket": "elsewhere"}).id)
