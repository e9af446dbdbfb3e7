"""A bucket, a table and a queue in memory, and workers that take turns at every single call to AWS.

Storage, decoding, network and the order of calls are the real ones; only S3 and DynamoDB are models of what their
documentation says, small enough to play hundreds of histories in seconds.
"""

from __future__ import annotations

import hashlib
import io
import json
import operator
import re
import types
from collections.abc import Awaitable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from classify.labelling import Labeller
from classify.tags_ahead import Pace
from labeller.aws_errors import AwsFailure
from labeller.classifier import load_classifier
from labeller.events import Change, ObjectRef
from labeller.records import padded
from labeller.reviews import Review
from labeller.settings import Settings
from labeller.storage import Storage
from ops.review.reviewing import Answer, Reviewer
from tests.support import BLUE, RED, encoded, plain, write_model

BUCKET, KEY = "uploads", "k.png"
ARCHIVED = "ARCHIVED"  # S3 does not hand it out
CONTENTS = {"red": encoded(plain(RED, 4, 4)), "blue": encoded(plain(BLUE, 4, 4)), "UNREADABLE": b"text", ARCHIVED: b""}

ALL = "tags,row,event"
WRITES = [ALL, "tags,row", "tags,event", "row,event", "tags", "row"]  # what a stack may write

Row = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What a person sees and says about it. Whoever is interrupted says it again."""

    ref: ObjectRef
    etag: str
    label: str | None
    by: str


Work = ObjectRef | Seen


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
        size = {"ETag": f'"{version.etag}"', "ContentLength": len(version.body)}
        return size | self._version(identity) | self._count(version)

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
            def __init__(self, row: Row | None) -> None:
                answer: Any = {"Error": {"Code": "ConditionalCheckFailedException"}} | ({"Item": row} if row else {})
                super().__init__(answer, "PutItem")

    def __init__(self) -> None:
        self.items: dict[str, Row] = {}  # in DynamoDB's format
        # Version, ETag and sequencer of the row, and the label, in the order of the updates.
        self.reviews: list[tuple[str, str, str, str | None]] = []

    @property
    def rows(self) -> dict[str, Row]:
        return {version: {k: next(iter(v.values())) for k, v in item.items()} for version, item in self.items.items()}

    def put_item(self, TableName: str, Item: Row, ConditionExpression: str, **more: Any) -> dict[str, Any]:
        version = Item["version"]["S"]
        self._check(version, ConditionExpression, more)
        before = self.items.get(version)
        self.items[version] = Item
        return {"Attributes": before} if before and more["ReturnValues"] == "ALL_OLD" else {}

    def update_item(
        self, TableName: str, Key: Row, UpdateExpression: str, ConditionExpression: str, **more: Any
    ) -> None:
        version, values = Key["version"]["S"], more["ExpressionAttributeValues"]
        self._check(version, ConditionExpression, more)
        sets, _, removed = UpdateExpression.removeprefix("SET ").partition(" REMOVE ")
        assigned = {name: values[value] for name, _, value in (part.partition(" = ") for part in sets.split(", "))}
        kept = {name: value for name, value in self.items[version].items() if name != removed}
        self.items[version] = kept | assigned
        if ":reviewed_etag" in values:
            label = values.get(":human_label", {}).get("S")
            sequencer = kept.get("sequencer", {}).get("S", "")
            self.reviews.append((version, values[":reviewed_etag"]["S"], sequencer, label))

    def get_item(self, TableName: str, Key: Row, ExpressionAttributeNames: Row, **_: Any) -> dict[str, Any]:
        row = self.items.get(Key["version"]["S"])
        return {"Item": {k: v for k, v in row.items() if k in ExpressionAttributeNames.values()}} if row else {}

    def _check(self, version: str, condition: str, more: Row) -> None:
        """DynamoDB's conditions, of these four kinds of terms, read as Python."""
        row = self.items.get(version)
        is_ = {name: value.get("S") for name, value in (row or {}).items()}
        given = {name: value.get("S") for name, value in more.get("ExpressionAttributeValues", {}).items()}

        def holds(name: str, relation: str, value: str) -> bool:
            return name in is_ and getattr(operator, relation)(is_[name], given[value])

        text = re.sub(r"attribute_not_exists\((\w+)\)", r"('\1' not in is_)", condition)
        for sign, relation in (("<=", "le"), ("<>", "ne"), ("=", "eq")):
            text = re.sub(rf"(\w+) {sign} (:\w+)", rf"holds('\1', '{relation}', '\2')", text)
        text = text.replace(" AND ", " and ").replace(" OR ", " or ")
        if not eval(text, {"holds": holds, "is_": is_}):
            raise self.exceptions.ConditionalCheckFailedException(row)


class Events:
    """EventBridge's API, for the events of reviews."""

    def __init__(self) -> None:
        self.published: list[Row] = []

    def put_events(self, Entries: list[Row]) -> dict[str, Any]:
        self.published += [json.loads(entry["Detail"]) for entry in Entries]
        return {"Entries": [{} for _ in Entries]}


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


class Calls:
    """The pool of calls to AWS. A call that is begun ahead is made now or when it is needed, as the clock stands."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __call__(self, function: Any, /, *arguments: Any) -> Any:
        return await one_call(function, *arguments)

    def begin(self, function: Any, /, *arguments: Any) -> Awaitable[Any]:
        if self._world.clock % 2:
            return Later(function, *arguments)
        try:
            answer = function(*arguments)
        except Exception as error:
            return Later(_raise, error)
        return Later(lambda: answer)

    async def end(self, call: Awaitable[Any]) -> Any:
        return await call


def _raise(error: Exception) -> None:
    raise error


class Steady(Pace):
    """A network that is always expected to take the same time."""

    def add(self, seconds: float) -> None:
        pass


class World:
    """Users change an object, S3 sends events, and workers label it, one call at a time."""

    def __init__(
        self, labeller: Labeller, versioned: bool, notifies: bool = True, write: str = ALL, ahead: bool = False
    ) -> None:
        self.write = write.split(",")
        self.bucket, self.table, self.events = Bucket(versioned), Table(), Events()
        self.storage = Storage(self.bucket, self.table, "results", self.events)
        settings = replace(labeller.settings, write=frozenset(self.write))
        pools: Any = {"aws_pool": Calls(self), "cpu_pool": at_once, "decoder_pool": at_once}
        pools["pace"] = Steady(0.0 if ahead else None)
        self.labeller = Labeller(settings, labeller.classifier, self.storage, **pools)
        self.notifies = notifies
        self.clock = 0
        self.queue: list[Work] = []
        self.workers: list[tuple[Work, Coroutine[Any, Any, Any]]] = []
        self.puts: dict[str, tuple[int, str]] = {}  # version -> number of reviews before, sequencer of its last event
        self.published: list[Mapping[str, Any]] = []
        self.confirmed: list[Review] = []  # what persons were told to be done

    # ---- what users do ------------------------------------------------------------------------------------

    def put(self, label: str) -> None:
        version = self._new_version()
        self.bucket.versions[version] = Version(label, {"owner": f"user {self.clock}"} if self.clock % 2 else {})
        sequencer = self._notify(Change.CREATED, version)
        self.puts[version] = (len(self.table.reviews), padded(sequencer) if self.notifies else "")

    def review(self, number: int, label: str | None) -> None:
        """A person opens the page now; the answer is given when it is received."""
        rows = [row for row in self.table.rows.values() if "etag" in row]
        if rows:
            row = rows[number % len(rows)]
            ref = ObjectRef(BUCKET, KEY, None if row["version"] == "null" else row["version"])
            self.queue.append(Seen(ref, row["etag"], label, by=f"person {number}"))

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

    def _notify(self, change: Change, version: str) -> str:
        """Send an event if the bucket does; its sequencer."""
        self.clock += 1
        # Of different lengths, as S3's are: compared as text, once filled with zeros on the right.
        sequencer = f"{self.clock:04x}" + "0" * (self.clock % 3)
        if self.notifies:
            identity = version if self.bucket.versioned else None
            self.queue.append(ObjectRef(BUCKET, KEY, identity, sequencer, change=change))
        return sequencer

    # ---- what the queue and the workers do ----------------------------------------------------------------

    def receive(self, number: int) -> None:
        """A worker takes a message, any of them, if fewer than two are at work."""
        if self.queue and len(self.workers) < 2:
            work = self.queue.pop(number % len(self.queue))
            if isinstance(work, Seen):
                reviewer = Reviewer(self.storage, "image-label", work.by, one_call, frozenset(self.write))
                self.workers.append((work, reviewer.answer(work.ref, work.etag, work.label)))
            else:
                self.workers.append((work, self.labeller.handle(work, self._publish)))

    def finish(self, number: int) -> None:
        """A worker takes a message, and works until it is done."""
        self.receive(number)
        self.go_on(-1, 1000)

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
            except StopIteration as end:
                self.workers.remove((ref, work))
                if isinstance(ref, Seen) and end.value[0] in (Answer.ACCEPTED, Answer.UNTAGGED):
                    self.confirmed.append(end.value[1])
                if isinstance(ref, Seen) and end.value[0] is Answer.UNTAGGED:
                    self.queue.append(ref)
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
            self.finish(0)  # the youngest first, so that the oldest, with what it fetched long ago, comes last

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
            faults += self._of_review(version_id, version, row)
        source = "human" if "human_label" in row else None
        said = (version.tags.get("image-label"), version.tags.get("image-label-source"))
        if "tags" in self.write and said != (row.get("human_label", label), source):
            faults.append(f"{version_id} is {label}, reviewed {row.get('human_label')}: tags {version.tags}")
        if self.bucket.versioned and int(version_id[1:]) % 2 and not version.tags.get("owner"):
            faults.append(f"{version_id} has lost its owner's tag: {version.tags}")
        published = [event for event in self.published if event["version"] == version_id]
        if self.notifies:  # the sequencer tells receivers which event counts; without one, there must be a right one
            newest = max((padded(event.get("sequencer", "")) for event in published), default="")
            published = [event for event in published if padded(event.get("sequencer", "")) == newest][-1:]
        if "event" in self.write and not any((event.get("label") or event["status"]) == label for event in published):
            faults.append(f"{version_id} is {label}: published {self.published}")
        return faults

    def _of_review(self, version_id: str, version: Version, row: Row) -> list[str]:
        """A person's last answer stays until the content is another, and no other answer is in the row."""
        since, sequencer = self.puts[version_id]
        answers = [review for review in self.table.reviews if review[0] == version_id]
        of_content = [label for _, etag, _, label in answers if etag == version.etag]
        of_row = (version_id, version.etag, sequencer)  # a deletion forgets the answers to the row before it
        fresh = [label for *seen, label in self.table.reviews[since:] if tuple(seen) == of_row]
        faults = []
        if row.get("human_label") not in (None, of_content[-1] if of_content else None):
            faults.append(f"{version_id} has an answer of other content: row {row}, answers {answers}")
        if fresh and row.get("human_label") != fresh[-1]:
            faults.append(f"{version_id} has lost its answer: row {row}, answers {answers}")
        kept = [entry["M"].get("label", {}).get("S") for entry in row.get("reviews", [])]
        if kept[len(kept) - len(fresh) :] != fresh:
            faults.append(f"{version_id} has lost its history: {kept}, answers {answers}")
        if "event" in self.write:
            faults += self._of_review_events(version_id, row)
        return faults

    def _of_review_events(self, version_id: str, row: Row) -> list[str]:
        """Whatever a person was told to be done has its event, and the row's answer has the last one.

        An answer that was not confirmed, and whose content was replaced before it was given again, needs none.
        """
        events = self.events.published
        published = {(event["time"], event.get("human_label")) for event in events}
        silent = [review for review in self.confirmed if (review.at, review.label) not in published]
        faults = [f"{review} was confirmed: published {events}" for review in silent]
        newest = max((event for event in events if event["version"] == version_id), key=_time_of, default={})
        if "reviewed_at" in row and (newest.get("time"), newest.get("human_label")) != (
            row["reviewed_at"],
            row.get("human_label"),
        ):
            faults.append(f"{version_id} was answered: row {row}, published {events}")
        return faults


def _time_of(event: Row) -> str:
    return str(event["time"])


def _is_deleted(row: Row) -> bool:
    return bool(row["status"] == "DELETED") and "label" not in row


def real_labeller(directory: Path) -> Labeller:
    """Settings and network; each world has its own storage and pools."""
    settings = Settings.from_env({"RESULTS_TABLE": "results"})
    classifier = load_classifier(write_model(directory), 1)
    pools: Any = {"aws_pool": one_call, "cpu_pool": at_once, "decoder_pool": at_once}
    return Labeller(settings, classifier, Storage(None, None, "results", None), **pools)
