"""How long the nightly report takes for 1,000 photographs.

    python -m bench.nightly

The real score handler runs in a process of its own on a local AWS made from template.yaml (moto, in another process of
this machine: its processor time is included, and Lambda has S3 elsewhere). Timed is the whole night, from the start of
the process to the published report.
"""

import argparse
import json
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.sources import OUT, Sources, run_part
from bench.timing import spread
from local.aws.handler_process import HandlerFailed
from local.aws.moto import local_aws
from local.aws.stack import deploy
from local.score import draw_testset, run_score
from model_build.data import dataset
from model_build.data.dataset import DataError, Dataset
from ops.testset import BUCKET_OUTPUT, UploadError, upload
from score.keys import LATEST, REPORT, night_key

PHOTOGRAPHS = 1000


def measure(sources: Sources, _: argparse.Namespace) -> dict[str, Any]:
    """The part `nightly` of bench.json. Raises UploadError, HandlerFailed, ModelError, DataError."""
    OUT.mkdir(parents=True, exist_ok=True)
    count = 40 if sources.quick else PHOTOGRAPHS
    whole, scoring = [], []
    with local_aws() as aws, (OUT / "score.log").open("w", encoding="utf-8") as log:
        stack = deploy(aws)
        bucket, s3 = stack.outputs[BUCKET_OUTPUT], aws.client("s3")
        labels, data = sources.manifest.labels, dataset.scan(sources.data)
        drawn = sources.drawn or data.labels != labels  # photographs with other labels cannot be scored
        if drawn:
            pictures = draw_testset(aws, bucket, labels, count // len(labels))
        else:
            pictures = upload(s3, bucket, _linked(data, count)).uploaded
        for _round in range(sources.round_count(2, quick=1) + 1):  # the first one reads the libraries from disk
            start = time.perf_counter()
            run_score(aws, stack.outputs, sources.model, log, datetime.now(UTC))
            whole.append(time.perf_counter() - start)
            report = json.loads(s3.get_object(Bucket=bucket, Key=night_key(LATEST, REPORT))["Body"].read())
            scoring.append(report["speed"]["seconds"])
    nights = list(zip(whole, scoring, strict=True))[1:]
    return {
        "on": "moto",
        "photographs": pictures,
        "drawn": drawn,
        "side": sources.side,
        "seconds": spread([night for night, _ in nights]),
        "scoring_seconds": spread([score for _, score in nights]),
        "thousand_seconds": spread([night - score + score * PHOTOGRAPHS / pictures for night, score in nights]),
    }


def _linked(data: Dataset, count: int) -> Path:
    """A folder with links to `count` test photographs, spread over the labels."""
    folder = OUT / "testset"
    shutil.rmtree(folder, ignore_errors=True)
    for number, example in enumerate(dataset.spread(data.splits["test"], count)):
        link = folder / data.labels[example.label] / f"{number} {example.path.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(example.path.resolve())
    return folder


if __name__ == "__main__":
    sys.exit(run_part("nightly", measure, DataError, UploadError, HandlerFailed))
