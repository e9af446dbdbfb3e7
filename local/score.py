"""The score function on the local AWS: its test set, its nightly run and its reports."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from local.aws.handler_process import call
from local.aws.moto import LocalAws
from local.aws.stack import running_function
from local.demo.drawn import draw_picture
from score.keys import REPORTS_PREFIX
from score.testset import TESTSET_PREFIX

SCORE_FUNCTION = "ScoreFunction"


def run_score(
    aws: LocalAws, outputs: Mapping[str, str], model: Path, log: TextIO, scheduled: datetime
) -> dict[str, Any]:
    """Run the real handler for the night of `scheduled`, with its log in the file `log`; returns its response.

    `outputs` are those of the deployed stack. Raises HandlerFailed.
    """
    function = running_function(aws, outputs["ScoreFunctionName"])
    environment = {
        **os.environ,  # points to the local AWS
        **function.local_environment(model),
        "ONNX_THREADS": str(len(os.sched_getaffinity(0))),
    }
    return dict(call(function, {"scheduled_time": scheduled.isoformat()}, environment, log))


def draw_testset(aws: LocalAws, bucket: str, labels: Sequence[str], per_label: int = 4) -> int:
    """Upload a test set of `per_label` drawn pictures for each label; returns the number of pictures."""
    s3 = aws.client("s3")
    for number in range(per_label * len(labels)):
        key = f"{TESTSET_PREFIX}{labels[number // per_label]}/{number}.png"
        s3.put_object(Bucket=bucket, Key=key, Body=draw_picture(number, "PNG"))
    return per_label * len(labels)


def put_reports(aws: LocalAws, bucket: str, out: Path) -> None:
    """Upload the reports of earlier runs, out/accuracy/..., to the bucket."""
    s3 = aws.client("s3")
    for path in sorted((out / REPORTS_PREFIX).rglob("*")):
        if path.is_file():
            s3.put_object(Bucket=bucket, Key=path.relative_to(out).as_posix(), Body=path.read_bytes())


def fetch_reports(aws: LocalAws, bucket: str, out: Path) -> None:
    """Download all reports of the bucket to out/accuracy/..."""
    s3 = aws.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=REPORTS_PREFIX):
        for item in page.get("Contents", []):
            path = out / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
