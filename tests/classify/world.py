"""A bucket, a table and a queue in memory, and workers that take turns at every single call to AWS.

Storage, decoding, network and the order of calls are the real ones; only S3 and DynamoDB are models of what their
documentation says, small enough to play hundreds of histories in seconds.
"""

from __future__ import annotations

import hashlib
import io
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from classify.labelling import Labeller
from labeller.aws_errors import AwsFailure
from labeller.classifier import load_classifier
from labeller.events import Change, ObjectRef
from labeller.records import padded
from labeller.settings import Settings
from labeller.storage import Storage
from tests.support import BLUE, RED, encoded, plain, write_model

BUCKET, KEY = "uploads", "k.png"
ARCHIVED = "ARCHIVED"  # S3 does not hand it out
CONTENTS = {"red": encoded(plain(RED, 4, 4)), "blue": encoded(plain(BLUE, 4, 4)), "UNREADABLE": b"text", ARCHIVED: b""}

ALL = "tags,row,event"
WRITES = [ALL, "tags,row", "tags,event", "row,event", "tags", "row"]  # what a stack may write

Row = dict[str, Any]


@dataclass
class Version:
    """One version of the object, or a delete marker."""

    label: str
    tags: dict[str, str] = field(default_factory=dict)
    is_marker: bool = False

    @property
    def body(self) -> bytes:
        return CONTENTS[self.label]

    @property
    def etag(self) -> str:
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


class Bucket:
    """What S3's API says of one key."""

    def __init__(self, versioned: bool) -> None:
        self.versioned = versioned
        self.tagging_denied = False
        self.versions: dict[str, Version] = {}  # in the order of their making; "null" alone where not versioned

    def find(self, call: str, version_id: str | None) -> tuple[str, Version]:
        if version_id is None:
            version_id = next(reversed(self.versions), None)
            version = self.versions.get(version_id or "")
            if version is None or version.is_marker:
                raise ClientError({"Error": {"Code": "NoSuchKey"}}, call)
        version = self.versions.get(version_id or "")
        if version is None:
            raise ClientError({"Error": {"Code": "NoSuchVersion"}}, call)
        if version.is_marker:
            raise ClientError({"Error": {"Code": "MethodNotAllowed"}}, call)
        return version_id or "", version

    def get_object(self, Bucket: str, Key: str, VersionId: str | None = None) -> dict[str, Any]:
        identity, version = self.find("GetObject", VersionId)
        if version.label == ARCHIVED:
            raise ClientError({"Error": {"Code": "InvalidObjectState"}}, "GetObject")
        answer = {
            "Body": io.BytesIO(version.body),
            "ContentLength": len(version.body),
            "ETag": f'"{version.etag}"',
        }
        return answer | self._version(identity) | self._count(version)

    def head_object(self, Bucket: str, Key: str, VersionId: str | None = None) -> dict[str, Any]:
        identity, version = self.find("HeadObject", VersionId)
        return {"ETag": f'"{version.etag}"'} | self._version(identity) | self._count(version)

    def get_object_tagging(self, Bucket: str, Key: str, VersionId: str | None = None) -> dict[str, Any]:
        _, version = self._find_to_tag("GetObjectTagging", VersionId)
        return {"TagSet": [{"Key": key, "Value": value} for key, value in version.tags.items()]}

    def put_object_tagging(
        self, Bucket: str, Key: str, Tagging: Mapping[str, Any], VersionId: str | None = None
    ) -> None:
        _, version = self._find_to_tag("PutObjectTagging", VersionId)
        version.tags = {tag["Key"]: tag["Value"] for tag in Tagging["TagSet"]}

    def _find_to_tag(self, call: str, version_id: str | None) -> tuple[str, Version]:
        if self.tagging_denied:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, call)
        return self.find(call, version_id)

    def _version(self, identity: str) -> dict[str, str]:
        return {"VersionId": identity} if self.versioned else {}

    @staticmethod
    def _count(version: Version) -> dict[str, int]:
        return {"TagCount": len(version.tags)} if version.tags else {}


class Table:
    """What DynamoDB's API says of one object's rows."""

    class exceptions:
        class ConditionalCheckFailedException(ClientError):
            def __init__(self) -> None:
                super().__init__({"Error": {"Code": "ConditionalCheckFailedException"}}, "PutItem")

    CONDITIONS: Mapping[str, Callable[[str | None, str], bool]] = {
        "attribute_not_exists(sequencer) OR sequencer <= :sequencer": lambda is_, given: is_ is None or is_ <= given,
        "sequencer = :sequencer": lambda is_, given: is_ == given,
        "attribute_not_exists(sequencer)": lambda is_, _: is_ is None,
    }

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def put_item(
        self,
        TableName: str,
        Item: Row,
        ConditionExpression: str,
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
    ) -> None:
        version = Item["version"]["S"]
        stored = self.rows.get(version, {}).get("sequencer")
        given = (ExpressionAttributeValues or {}).get(":sequencer", {}).get("S", "")
        if not self.CONDITIONS[ConditionExpression](stored, given):
            raise self.exceptions.ConditionalCheckFailedException
        self.rows[version] = {name: next(iter(value.values())) for name, value in Item.items()}

    def get_item(self, TableName: str, Key: Row, **_: Any) -> dict[str, Any]:
        row = self.rows.get(Key["version"]["S"])
        return {"Item": {"sequencer": {"S": row["sequencer"]}}} if row and "sequencer" in row else {}


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Where a worker stands until it is its turn."""
    yield


async def one_call(function: Any, /, *arguments: Any) -> Any:
    await turn()
    return function(*arguments)


class Later:
    """one_call(...), which nobody needs to await: a worker may be killed before it does."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __await__(self) -> Generator[None, None, Any]:
        return one_call(*self._call).__await__()


async def at_once(function: Any, /, *arguments: Any) -> Any:
    return function(*arguments)


class World:
    """Users change an object, S3 sends events, and workers label it, one call at a time."""

    def __init__(self, labeller: Labeller, versioned: bool, notifies: bool = True, write: str = ALL) -> None:
        self.bucket, self.table = Bucket(versioned), Table()
        self.write = write.split(",")
        self.labeller = Labeller(
            replace(labeller.settings, write=frozenset(self.write)),
            labeller.classifier,
            Storage(self.bucket, self.table, "results", None),
            aws_pool=one_call,
            cpu_pool=at_once,
        )
        self.notifies = notifies
        self.clock = 0
        self.queue: list[ObjectRef] = []
        self.workers: list[tuple[ObjectRef, Coroutine[Any, Any, Any]]] = []
        self.published: list[Mapping[str, Any]] = []

    # ---- what users do ------------------------------------------------------------------------------------

    def put(self, label: str) -> None:
        version = self._new_version()
        self.bucket.versions[version] = Version(label, {"owner": f"user {self.clock}"} if self.clock % 2 else {})
        self._notify(Change.CREATED, version)

    def delete(self) -> None:
        if self.bucket.versioned:
            version = self._new_version()
            self.bucket.versions[version] = Version("", is_marker=True)
            self._notify(Change.DELETE_MARKER, version)
        elif self.bucket.versions.pop("null", None):
            self._notify(Change.DELETED, "null")

    def delete_version(self, number: int) -> None:
        if self.bucket.versioned and self.bucket.versions:
            version = list(self.bucket.versions)[number % len(self.bucket.versions)]
            del self.bucket.versions[version]
            self._notify(Change.DELETED, version)

    def deny(self, denied: bool) -> None:
        """Somebody's policy keeps the workers from the object's tags, or does so no longer."""
        self.bucket.tagging_denied = denied

    def ask(self, _number: int = 0) -> None:
        """As S3 Batch Operations does: neither version nor sequencer."""
        self.queue.append(ObjectRef(BUCKET, KEY))

    def _new_version(self) -> str:
        self.clock += 1
        return f"v{self.clock}" if self.bucket.versioned else "null"

    def _notify(self, change: Change, version: str) -> None:
        self.clock += 1
        if self.notifies:
            identity = version if self.bucket.versioned else None
            # Of different lengths, as S3's are: compared as text, once filled with zeros on the right.
            sequencer = f"{self.clock:04x}" + "0" * (self.clock % 3)
            self.queue.append(ObjectRef(BUCKET, KEY, identity, sequencer, change=change))

    # ---- what the queue and the workers do ----------------------------------------------------------------

    def receive(self, number: int) -> None:
        """A worker takes a message, any of them, if fewer than two are at work."""
        if self.queue and len(self.workers) < 2:
            ref = self.queue.pop(number % len(self.queue))
            self.workers.append((ref, self.labeller.handle(ref, self._publish)))

    def duplicate(self, number: int) -> None:
        if self.queue:
            self.queue.append(self.queue[number % len(self.queue)])

    def go_on(self, number: int, calls: int) -> None:
        """One worker makes its next calls to AWS. If it fails, its message is retried."""
        if self.workers:
            ref, work = self.workers[number % len(self.workers)]
            try:
                for _ in range(calls):
                    work.send(None)
            except StopIteration:
                self.workers.remove((ref, work))
            except AwsFailure:
                self.workers.remove((ref, work))
                self.queue.append(ref)

    def crash(self, number: int) -> None:
        """A worker is killed between two calls; its message is retried."""
        if self.workers:
            ref, work = self.workers.pop(number % len(self.workers))
            work.close()
            self.queue.append(ref)

    def _publish(self, detail: Mapping[str, Any]) -> Awaitable[None]:
        """The event goes out now or later, as the clock happens to stand; who published waits for it either way."""
        if self.clock % 2:
            return Later(self.published.append, detail)
        self.published.append(detail)
        return Later(lambda: None)

    def settle(self) -> None:
        """Nobody changes anything any more, and the queue runs empty."""
        self.deny(False)
        if not self.notifies:
            self.ask()
        while self.queue or self.workers:
            self.receive(0)
            self.go_on(-1, 1000)  # the youngest first, so that the oldest, with what it fetched long ago, comes last

    # ---- what must hold at the end --------------------------------------------------------------------------

    def disagreements(self) -> list[str]:
        """What tags, rows and events, as far as they are written, say otherwise than the bucket does."""
        faults = self._written_in_vain()
        for version_id, version in self.bucket.versions.items():
            row = self.table.rows.get(version_id, {})
            if version.is_marker:
                if "row" in self.write and (row.get("status"), row.get("reason")) != ("DELETED", "DELETE_MARKER"):
                    faults.append(f"delete marker {version_id}: row {row}")
            elif self.notifies or next(reversed(self.bucket.versions)) == version_id:
                faults += self._of_version(version_id, version, row)
        if self.notifies and "row" in self.write:
            gone = self.table.rows.keys() - self.bucket.versions.keys()
            faults += [f"{v} is deleted: row {self.table.rows[v]}" for v in gone if not _is_deleted(self.table.rows[v])]
        return faults

    def _written_in_vain(self) -> list[str]:
        """What is written although it is switched off."""
        tags = [tags for version in self.bucket.versions.values() if "image-label" in (tags := version.tags)]
        written = {"tags": tags, "row": list(self.table.rows.values()), "event": self.published}
        return [f"{name}: {content}" for name, content in written.items() if content and name not in self.write]

    def _of_version(self, version_id: str, version: Version, row: Row) -> list[str]:
        unreadable = version.label in ("UNREADABLE", ARCHIVED)
        label = "UNREADABLE" if unreadable else version.label
        said = row.get("status") if unreadable else row.get("label")
        faults = []
        if "row" in self.write:
            if said != label or (row.get("etag", version.etag) != version.etag):
                faults.append(f"{version_id} is {version.label}: row {row}")
            if (row.get("reason") == ARCHIVED) is not (version.label == ARCHIVED):
                faults.append(f"{version_id} is {version.label}: row {row}")
        if "tags" in self.write and version.tags.get("image-label") != label:
            faults.append(f"{version_id} is {label}: tags {version.tags}")
        if self.bucket.versioned and int(version_id[1:]) % 2 and not version.tags.get("owner"):
            faults.append(f"{version_id} has lost its owner's tag: {version.tags}")
        published = [event for event in self.published if event["version"] == version_id]
        if self.notifies:  # the sequencer tells receivers which event counts; without one, there must be a right one
            newest = max((padded(event.get("sequencer", "")) for event in published), default="")
            published = [event for event in published if padded(event.get("sequencer", "")) == newest][-1:]
        if "event" in self.write and not any((event.get("label") or event["status"]) == label for event in published):
            faults.append(f"{version_id} is {label}: published {self.published}")
        return faults


def _is_deleted(row: Row) -> bool:
    return bool(row["status"] == "DELETED") and "label" not in row


def real_labeller(directory: Path) -> Labeller:
    """Settings and network; each world has its own storage and pools."""
    settings = Settings.from_env({"RESULTS_TABLE": "results"})
    classifier = load_classifier(write_model(directory), 1)
    return Labeller(settings, classifier, Storage(None, None, "results", None), aws_pool=one_call, cpu_pool=at_once)
