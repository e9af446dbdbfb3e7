"""The tasks of an S3 Batch Operations job, driven by this machine: same manifest, same events, same report.

For where S3 cannot run them: the local AWS, another object store. A folder holds all of a job:

    manifest.csv             what is to be done: bucket,key[,version], keys URL-encoded; S3BatchOperations_CSV_20180820
    journal.jsonl            what has been done; its first line says of which manifest and arguments
    job-ID/manifest.json     the completion report, once all is done; Report_CSV_20180820
    job-ID/results/*.csv

Killed at any point and run again, the job goes on. A task whose end is in the journal is never done again. Of those
that were under way, it is not known what they had come to: they are sent as tasks for stale labels only, so that one
whose row had been written is found done, and not worked on twice. (Its result event may be missing then: the row is
written before the event is sent.)
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from labeller.events import ONLY_STALE, TaskResult
from ops.cli import CommandError

MANIFEST, JOURNAL = "manifest.csv", "journal.jsonl"
REPORT_SCHEMA = "Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage"
ATTEMPTS = 3  # of a task that fails for the time being

Invoke = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Hands an event of Batch Operations to the function and returns what it answers."""


class BackfillError(CommandError):
    """The job cannot be run as asked. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Task:
    """One line of a manifest."""

    id: str  # the line's number
    bucket: str
    key: str  # URL-encoded, as in the manifest and in the event
    version: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a task ended."""

    code: TaskResult
    said: str  # the reason, or the ending


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, and how."""

    folder: Path
    id: str
    only_stale: bool = False
    per_invocation: int = 10  # tasks under way at once; S3 itself sends one

    @property
    def manifest(self) -> Path:
        """The file that names the objects."""
        return self.folder / MANIFEST

    @property
    def report(self) -> Path:
        """The completion report; where it is, all is done."""
        return self.folder / f"job-{self.id}" / "manifest.json"


def read_manifest(path: Path) -> Iterator[Task]:
    """The tasks of a CSV manifest, in its order. BackfillError names the line that is none."""
    with path.open(encoding="utf-8", newline="") as lines:
        try:
            for number, row in enumerate(csv.reader(lines), 1):
                if len(row) not in (2, 3) or not row[0] or not row[1]:
                    raise BackfillError(f"{path}, line {number}: not bucket,key or bucket,key,version: {row!r}")
                yield Task(str(number), row[0], row[1], (row[2] or None) if len(row) == 3 else None)
        except (UnicodeDecodeError, csv.Error) as error:
            raise BackfillError(f"{path} is no list of bucket,key in UTF-8: {error}") from error


def write_manifest(path: Path, objects: Iterable[tuple[str, str]]) -> None:
    """Write bucket and URL-encoded key of each object, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    with beside.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(objects)
        _to_disk(file)
    beside.replace(path)


class Journal(AbstractContextManager["Journal"]):
    """What a job has begun and ended, on disk before it is relied upon.

    `ended` maps task ids to their ends, `begun` holds those that were under way when the process died.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.ended: dict[str, End] = {}
        self.begun: set[str] = set()
        whole = 0
        if path.exists():
            whole = self._read(path, head)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(whole)  # half a line is what a kill may leave
        self._file.seek(whole)
        if not whole:
            self._append(dict(head))

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, tasks: Sequence[Task]) -> None:
        """These are about to be sent."""
        self._append({"begin": [task.id for task in tasks]})
        self.begun.update(task.id for task in tasks)

    def end(self, ends: Mapping[str, End]) -> None:
        """So these have ended."""
        self._append({"end": {task: [end.code.value, end.said] for task, end in ends.items()}})
        self.ended.update(ends)
        self.begun.difference_update(ends)

    def _read(self, path: Path, head: Mapping[str, Any]) -> int:
        """Take up what is there; the number of bytes up to the last whole line."""
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        lines = [json.loads(line) for line in content[:whole].splitlines()]
        if lines and lines[0] != head:
            raise BackfillError(
                f"{path} is of another job: {json.dumps(lines[0])}, not {json.dumps(dict(head))}. "
                "Go on with that one, or name another folder"
            )
        for line in lines[1:]:
            self.begun.update(line.get("begin", ()))
            for task, (code, said) in line.get("end", {}).items():
                self.ended[task] = End(TaskResult(code), said)
                self.begun.discard(task)
        return whole

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        _to_disk(self._file)


def run(
    job: Job,
    invoke: Invoke,
    progress: Callable[[int, int], None] = lambda done, failed: None,
    sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds),
) -> dict[str, End]:
    """Do what the manifest says and is not done yet, write the report, and return how each task ended.

    `progress` is told how many tasks are done, and how many of them failed. Raises BackfillError for a manifest or
    journal that cannot be gone on with, and where the function fails as a whole.
    """
    tasks = list(read_manifest(job.manifest))
    head = {
        "manifest": hashlib.sha256(job.manifest.read_bytes()).hexdigest(),
        "job": job.id,
        ONLY_STALE: job.only_stale,
    }
    with Journal(job.folder / JOURNAL, head) as journal:
        # One after the other: those that were under way, those that were not begun, those to be tried again.
        doubtful = [task for task in tasks if task.id in journal.begun]
        _send(replace(job, only_stale=True), doubtful, invoke, journal, progress)
        rest = [task for task in tasks if task.id not in journal.ended]
        _send(job, rest, invoke, journal, progress)
        for attempt in range(1, ATTEMPTS):
            again = [task for task in tasks if journal.ended[task.id].code is TaskResult.TEMPORARY_FAILURE]
            if again:
                sleep(2.0**attempt)
                _send(job, again, invoke, journal, progress)
        write_report(job, tasks, journal.ended)
        return dict(journal.ended)


def _send(
    job: Job, tasks: Sequence[Task], invoke: Invoke, journal: Journal, progress: Callable[[int, int], None]
) -> None:
    waiting = iter(tasks)
    while batch := list(islice(waiting, job.per_invocation)):
        journal.begin(batch)
        journal.end(_ends(batch, invoke, event(job, batch)))
        failed = sum(end.code is not TaskResult.SUCCEEDED for end in journal.ended.values())
        progress(len(journal.ended), failed)


def event(job: Job, tasks: Sequence[Task]) -> dict[str, Any]:
    """What S3 would send: user guide, "Invoke AWS Lambda function", schema 2.0."""
    return {
        "invocationSchemaVersion": "2.0",
        "invocationId": f"{job.id}-{tasks[0].id}",
        "job": {"id": job.id, "userArguments": {ONLY_STALE: str(job.only_stale).lower()}},
        "tasks": [
            {"taskId": task.id, "s3Key": task.key, "s3VersionId": task.version, "s3Bucket": task.bucket}
            for task in tasks
        ],
    }


def _ends(tasks: Sequence[Task], invoke: Invoke, sent: dict[str, Any]) -> dict[str, End]:
    """How the function says that each task ended; what it does not name is taken as it wants that taken."""
    try:
        answer = invoke(sent)
    except Exception as error:  # it catches what concerns one object; so this would meet all others too
        raise BackfillError(
            f"the function failed as a whole, at task {tasks[0].id} ({tasks[0].bucket}/{tasks[0].key}): "
            f"{type(error).__name__}: {error}. Nothing is lost: mend it and start again, the job goes on"
        ) from error
    missing = End(TaskResult(answer["treatMissingKeysAs"]), "the function's answer does not name the task")
    results = {each["taskId"]: End(TaskResult(each["resultCode"]), each["resultString"]) for each in answer["results"]}
    return {task.id: results.get(task.id, missing) for task in tasks}


def write_report(job: Job, tasks: Sequence[Task], ends: Mapping[str, End]) -> None:
    """The completion report: user guide, "Examples: S3 Batch Operations completion reports"."""
    place = job.report.parent
    (place / "results").mkdir(parents=True, exist_ok=True)
    results = []
    for status, wanted in (("succeeded", True), ("failed", False)):
        rows = [
            [task.bucket, task.key, task.version or "", status, "200", code, ends[task.id].said]
            for task in tasks
            for code in ["" if wanted else ends[task.id].code.value]
            if (ends[task.id].code is TaskResult.SUCCEEDED) is wanted
        ]
        if not rows:
            continue
        name = f"results/{hashlib.sha1(status.encode(), usedforsecurity=False).hexdigest()}.csv"
        with (place / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        digest = hashlib.md5((place / name).read_bytes(), usedforsecurity=False).hexdigest()
        results.append(
            {"TaskExecutionStatus": status, "Bucket": "", "MD5Checksum": digest, "Key": f"{place.name}/{name}"}
        )
    content = {
        "Format": "Report_CSV_20180820",
        "ReportCreationDate": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "Results": results,
        "ReportSchema": REPORT_SCHEMA,
    }
    beside = job.report.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(job.report)  # the last: where it is, all of the report is


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
