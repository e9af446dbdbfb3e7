from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeller.events import TaskResult, parse_request
from local import ROOT
from ops import task_runner
from ops.task_runner import BackfillError, End, Job, Task, event, read_manifest, run, write_manifest


class Killed(BaseException):
    """The process is gone: nobody catches it."""


class World:
    """What the function has done to the objects. It outlives the process that asked for it.

    A task's work is to label an object; asked for stale ones only, it leaves alone what has a label, as the real
    function does. The process dies when `life` steps are over: before an object's work, or after it.
    """

    def __init__(self) -> None:
        self.worked: Counter[str] = Counter()
        self.life: int | None = None

    def step(self) -> None:
        if self.life is not None:
            self.life -= 1
            if self.life < 0:
                raise Killed

    def invoke(self, event: dict[str, Any]) -> Mapping[str, Any]:
        stale = event["job"]["userArguments"]["onlyStale"] == "true"
        results = []
        for task in event["tasks"]:
            self.step()
            if not (stale and self.worked[task["s3Key"]]):
                self.worked[task["s3Key"]] += 1
            self.step()
            results.append({"taskId": task["taskId"], "resultCode": "Succeeded", "resultString": "LABELLED"})
        return {"treatMissingKeysAs": "TemporaryFailure", "results": results}


def a_job(folder: Path, objects: int, per_invocation: int = 3) -> Job:
    write_manifest(folder / task_runner.MANIFEST, [("pictures", f"{index}.jpg") for index in range(objects)])
    return Job(folder, "j", per_invocation=per_invocation)


def answering(**codes: str) -> Any:
    """A function that says this of the keys named (without .jpg), and Succeeded of others."""

    def invoke(event: dict[str, Any]) -> Mapping[str, Any]:
        results = [
            {
                "taskId": task["taskId"],
                "resultCode": codes.get(f"o{task['s3Key'].removesuffix('.jpg')}", "Succeeded"),
                "resultString": f"said of {task['s3Key']}",
            }
            for task in event["tasks"]
        ]
        return {"treatMissingKeysAs": "PermanentFailure", "results": results}

    return invoke


def no_sleep(_: float) -> None:
    pass


# ---- killed at any point ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(
    objects=st.integers(1, 12),
    per_invocation=st.integers(1, 5),
    lives=st.lists(st.integers(0, 12), max_size=8),
    torn=st.lists(st.integers(0, 80), max_size=8),
)
def test_killed_at_any_point_and_started_again_it_finishes_without_doing_work_twice(
    objects: int, per_invocation: int, lives: list[int], torn: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # slow, and no kill can tell; a test below has the real one
        job, world = a_job(Path(name), objects, per_invocation), World()
        journal = job.folder / task_runner.JOURNAL
        for index, life in enumerate(lives):
            world.life = life
            try:
                run(job, world.invoke, sleep=no_sleep)
            except Killed:
                # What is written but was not yet on disk: some of a next line.
                half = b'{"end": {"1": ["Succeeded", "LABEL'[: torn[index] if index < len(torn) else 0]
                journal.write_bytes(journal.read_bytes() + half)
        world.life = None
        ends = run(job, world.invoke, sleep=no_sleep)
        assert world.worked == Counter({f"{index}.jpg": 1 for index in range(objects)})
        assert len(ends) == objects
        assert len(rows_of_report(job)) == objects


@pytest.mark.parametrize("cut", [1, 2, 7, 30])
def test_a_journal_that_lost_its_end_costs_no_more_than_looking_again(tmp_path: Path, cut: int) -> None:
    job, world = a_job(tmp_path, 5), World()
    run(job, world.invoke)
    journal = tmp_path / task_runner.JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])  # the last batch's end is gone, its beginning is there
    run(job, world.invoke)
    assert set(world.worked.values()) == {1}


CHILD = """
import json, os, sys
from pathlib import Path
from ops.task_runner import Job, run

marks = Path(sys.argv[2])

def invoke(event):
    stale = event["job"]["userArguments"]["onlyStale"] == "true"
    results = []
    for task in event["tasks"]:
        mark = marks / task["s3Key"]
        if not (stale and mark.exists() and mark.stat().st_size):  # opened and killed: nothing was done yet
            with mark.open("a") as file:
                file.write("worked\\n")
                file.flush()
                os.fsync(file.fileno())
        results.append({"taskId": task["taskId"], "resultCode": "Succeeded", "resultString": "LABELLED"})
    return {"treatMissingKeysAs": "TemporaryFailure", "results": results}

run(Job(Path(sys.argv[1]), "j", per_invocation=4), invoke)
"""


def test_a_process_that_is_killed_again_and_again_does_each_object_once(tmp_path: Path) -> None:
    job = a_job(tmp_path / "job", 300, per_invocation=4)
    marks = tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, "-c", CHILD, str(job.folder), str(marks)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT / "functions"), str(ROOT)]))
    kills = 0
    while kills < 4:
        before = len(list(marks.iterdir()))
        child = subprocess.Popen(command, env=environment)
        while child.poll() is None and len(list(marks.iterdir())) < before + 40:
            time.sleep(0.001)
        if child.poll() is not None:
            break
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        kills += 1
    assert kills >= 2
    subprocess.run(command, env=environment, check=True)
    assert {mark.read_text() for mark in marks.iterdir()} == {"worked\n"}
    assert len(list(marks.iterdir())) == 300
    assert len(rows_of_report(job)) == 300


# ---- what is sent and what is answered --------------------------------------------------------------------


def test_the_function_understands_the_events(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", [("pictures", "a+b%2Bc/%E3%81%AD%E3%81%93.jpg")])
    task = next(read_manifest(tmp_path / "manifest.csv"))
    request = parse_request(event(Job(tmp_path, "j", only_stale=True), [task]))
    assert [(ref.bucket, ref.key, ref.version_id) for ref in request.refs] == [("pictures", "a b+c/ねこ.jpg", None)]
    assert request.only_stale
    assert request.schema_version == "2.0"


def test_no_more_than_so_many_objects_are_under_way(tmp_path: Path) -> None:
    sizes: list[int] = []
    succeed = answering()

    def invoke(event: dict[str, Any]) -> Any:
        sizes.append(len(event["tasks"]))
        return succeed(event)

    run(a_job(tmp_path, 10, per_invocation=4), invoke)
    assert sizes == [4, 4, 2]


def test_a_task_that_fails_for_the_time_being_is_tried_three_times_and_others_once(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()
    answer = answering(o1="TemporaryFailure", o2="PermanentFailure")

    def invoke(event: dict[str, Any]) -> Any:
        asked.update(task["s3Key"] for task in event["tasks"])
        return answer(event)

    pauses: list[float] = []
    ends = run(a_job(tmp_path, 4), invoke, sleep=pauses.append)
    assert asked == {"0.jpg": 1, "1.jpg": 3, "2.jpg": 1, "3.jpg": 1}
    assert pauses == [2.0, 4.0]
    assert ends["2"] == End(TaskResult.TEMPORARY_FAILURE, "said of 1.jpg")


def test_a_task_that_the_answer_leaves_out_ends_as_the_answer_wants(tmp_path: Path) -> None:
    ends = run(a_job(tmp_path, 1), lambda _: {"treatMissingKeysAs": "PermanentFailure", "results": []})
    assert ends["1"].code is TaskResult.PERMANENT_FAILURE


def test_a_function_that_fails_as_a_whole_stops_the_job_which_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    job, world = a_job(tmp_path, 7), World()

    def broken(event: dict[str, Any]) -> Any:
        if event["tasks"][0]["taskId"] != "1":
            raise RuntimeError("no model")
        return world.invoke(event)

    with pytest.raises(BackfillError, match=r"at task 4 \(pictures/3.jpg\): RuntimeError: no model"):
        run(job, broken)
    assert not job.report.exists()
    run(job, world.invoke)
    assert set(world.worked.values()) == {1}


def test_progress_tells_what_is_done_and_what_of_it_failed(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    run(a_job(tmp_path, 5), answering(o1="PermanentFailure"), lambda done, failed: told.append((done, failed)))
    assert told == [(3, 1), (5, 1)]


# ---- manifest, journal, report ----------------------------------------------------------------------------


def test_a_manifest_may_name_versions(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('pictures,"a,b.jpg"\npictures,c.jpg,v1\npictures,d.jpg,\n')
    assert list(read_manifest(tmp_path / "m.csv")) == [
        Task("1", "pictures", "a,b.jpg"),
        Task("2", "pictures", "c.jpg", "v1"),
        Task("3", "pictures", "d.jpg"),
    ]


@pytest.mark.parametrize("line", ["pictures", "pictures,", ",a.jpg", "a,b,c,d"])
def test_a_line_that_names_no_object_is_told_by_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.csv").write_text(f"pictures,a.jpg\n{line}\n")
    with pytest.raises(BackfillError, match="line 2"):
        list(read_manifest(tmp_path / "m.csv"))


def test_the_journal_of_another_manifest_is_not_gone_on_with(tmp_path: Path) -> None:
    run(a_job(tmp_path, 2), answering())
    with pytest.raises(BackfillError, match="of another job"):
        run(a_job(tmp_path, 3), answering())


def test_the_report_is_as_s3_writes_it(tmp_path: Path) -> None:
    # User guide, "Examples: S3 Batch Operations completion reports": of a success
    #     awsexamplebucket1,image_17775,,succeeded,200,,"..."
    # and of a failure
    #     awsexamplebucket1,image_14975,,failed,200,PermanentFailure,"..."
    job = a_job(tmp_path, 2)
    run(job, answering(o1="PermanentFailure"))
    report = json.loads(job.report.read_text())
    assert report["Format"] == "Report_CSV_20180820"
    assert report["ReportSchema"] == "Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage"
    assert [each["TaskExecutionStatus"] for each in report["Results"]] == ["succeeded", "failed"]
    for each in report["Results"]:
        content = (tmp_path / each["Key"]).read_bytes()
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == each["MD5Checksum"]
    assert rows_of_report(job) == [
        ["pictures", "0.jpg", "", "succeeded", "200", "", "said of 0.jpg"],
        ["pictures", "1.jpg", "", "failed", "200", "PermanentFailure", "said of 1.jpg"],
    ]


def rows_of_report(job: Job) -> list[list[str]]:
    results = json.loads(job.report.read_text())["Results"]
    return [row for each in results for row in csv.reader((job.folder / each["Key"]).open(newline=""))]
