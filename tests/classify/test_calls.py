"""Which calls to AWS each kind of event takes. Each call costs money and time for every object of that kind."""

from __future__ import annotations

from typing import Any

from tests.classify.conftest import BUCKET, Service
from tests.classify.test_backfill import job
from tests.support import (
    BLUE,
    RED,
    TEST_EVENT,
    batch_job,
    encoded,
    eventbridge_event,
    notification,
    plain,
    record,
    sqs_batch,
)

LABEL = ["GetObjectTagging", "PutObjectTagging", "PutItem"]
CHECK = ["HeadObject"]  # whether the object has been replaced meanwhile
CHECK_ALL = ["HeadObject", "GetObjectTagging"]  # whether anybody has tagged it meanwhile, too
PUBLISH = ["PutEvents"]
REFUSED = ["GetObject", "HeadObject"]
RED_PNG = encoded(plain(RED))


class Ledger:
    """The calls of each event, by the event's name in the tests below."""

    def __init__(self, service: Service, calls: list[str]) -> None:
        self._service, self._calls = service, calls
        self.taken: dict[str, list[str]] = {}

    def invoke(self, name: str, event: dict[str, Any]) -> None:
        self._calls.clear()
        self._service.invoke(event)
        # Publishing runs beside the check, in either order.
        self.taken[name] = sorted(self._calls, key=lambda call: call == "PutEvents")

    def deliver(self, name: str, *records: dict[str, Any]) -> None:
        self.invoke(name, sqs_batch(*map(notification, records)))


def removed(key: str, sequencer: str = "0055AED6DCD90281E6", version: str | None = None) -> dict[str, Any]:
    return record(key, sequencer=sequencer, event_name="ObjectRemoved:Delete", version_id=version)


def test_in_a_bucket_without_versions_each_kind_of_event_takes_these_calls(service: Service, calls: list[str]) -> None:
    ledger = Ledger(service, calls)
    ledger.deliver("the first upload", service.upload("red.png", RED_PNG))
    ledger.deliver("the same upload again", service.upload("red.png", RED_PNG))
    ledger.deliver("another upload in its place", service.upload("red.png", encoded(plain(BLUE))))
    ledger.deliver("an upload with tags", service.upload("tagged.png", RED_PNG, tags="owner=Ann"))
    ledger.deliver(
        "an upload with ten tags", service.upload("full.png", RED_PNG, "&".join(f"k{i}=v" for i in range(10)))
    )
    ledger.deliver("no picture", service.upload("notes.jpg", b"Milk"))
    ledger.deliver("too many bytes", service.upload("large.png", b"\0" * 200_001))
    service.s3.put_object(Bucket=BUCKET, Key="cold.png", Body=RED_PNG, StorageClass="GLACIER")
    ledger.deliver("an archived object", record("cold.png"))
    ledger.deliver("a late event", record("red.png", sequencer="0054"))
    ledger.deliver("an object that is gone", record("never.png"))
    ledger.invoke("S3's test event", sqs_batch(TEST_EVENT))
    ledger.deliver("a folder", record("folder/"))
    ledger.invoke("a task", batch_job("red.png"))
    ledger.invoke("a task for stale labels, of a current one", job("red.png", only_stale=True))
    ledger.invoke("a task for stale labels, of an unlabelled object", job("never.png", only_stale=True))
    ledger.deliver("a deletion", removed("tagged.png"))
    unordered = eventbridge_event("red.png", "Object Deleted", deletion="Permanently Deleted", sequencer=None)
    ledger.invoke("a deletion without a sequencer", unordered)

    assert ledger.taken == {
        "the first upload": ["GetObject", *LABEL, *PUBLISH],
        "the same upload again": ["GetObject", *LABEL, *PUBLISH],
        "another upload in its place": ["GetObject", *LABEL, *CHECK_ALL, *PUBLISH],
        "an upload with tags": ["GetObject", *LABEL, *PUBLISH],
        "an upload with ten tags": ["GetObject", "GetObjectTagging", "PutItem", *PUBLISH],
        "no picture": ["GetObject", *LABEL, *PUBLISH],
        "too many bytes": ["GetObject", *LABEL, *PUBLISH],
        # HeadObject names the version. S3 hands out no ETag: fetching it again is the check. moto denies its tags.
        "an archived object": [*REFUSED, "GetObjectTagging", "PutItem", "GetObject", *PUBLISH],
        "a late event": ["GetObject", *LABEL, *CHECK],
        "an object that is gone": ["GetObject"],
        "S3's test event": [],
        "a folder": [],
        "a task": ["GetItem", "GetObject", *LABEL, *CHECK, *PUBLISH],
        "a task for stale labels, of a current one": ["HeadObject", "GetItem"],
        "a task for stale labels, of an unlabelled object": ["HeadObject", "GetItem", "GetObject"],
        "a deletion": ["PutItem"],
        "a deletion without a sequencer": ["GetItem", "HeadObject"],
    }


def test_in_a_bucket_with_versions_each_kind_of_event_takes_these_calls(service: Service, calls: list[str]) -> None:
    service.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    ledger = Ledger(service, calls)
    ledger.deliver("the first upload", service.upload("red.png", RED_PNG))
    created = service.upload("red.png", RED_PNG)
    version = created["s3"]["object"]["versionId"]
    ledger.deliver("an upload", created)
    ledger.deliver("an upload with tags", service.upload("tagged.png", RED_PNG, tags="owner=Ann"))
    ledger.deliver("no picture", service.upload("notes.jpg", b"Milk"))
    ledger.deliver("a late event", record("red.png", sequencer="0054", version_id=version))
    ledger.invoke("a task that names the version", batch_job("red.png", version_id=version))
    ledger.invoke("a task", batch_job("red.png"))
    ledger.invoke("a task for stale labels, of a current one", job("red.png", only_stale=True))
    ledger.deliver("a deletion", removed("red.png", version=version))
    marker = service.s3.delete_object(Bucket=BUCKET, Key="tagged.png")["VersionId"]
    unordered = eventbridge_event("tagged.png", "Object Deleted", marker, "Delete Marker Created", sequencer=None)
    ledger.invoke("a delete marker without a sequencer", unordered)

    # A named version cannot be replaced: nothing is checked.
    assert ledger.taken == {
        "the first upload": ["GetObject", *LABEL, *PUBLISH],
        "an upload": ["GetObject", *LABEL, *PUBLISH],
        "an upload with tags": ["GetObject", *LABEL, *PUBLISH],
        "no picture": ["GetObject", *LABEL, *PUBLISH],
        "a late event": ["GetObject", *LABEL],
        "a task that names the version": ["GetItem", "GetObject", *LABEL, *PUBLISH],
        "a task": ["GetItem", "GetObject", "GetItem", "GetObject", *LABEL, *PUBLISH],
        "a task for stale labels, of a current one": ["HeadObject", "GetItem"],
        "a deletion": ["PutItem"],
        "a delete marker without a sequencer": ["GetItem", "PutItem"],
    }
