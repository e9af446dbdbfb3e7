"""How long the nightly report takes for 1,000 photographs.

    python -m bench.nightly [--quick] [--json FILE]

The real score handler, in a process of its own, on a local AWS made from template.yaml (moto, in another process of
the same machine, so that its processor time is in the figures: Lambda has S3 elsewhere). The whole night, from the
start of the process to the published report.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.sources import OUT, BenchError, Sources, add_options, read
from bench.spread import spread
from bench.table import nightly_table
from labeller.manifest import ModelError
from local.aws.handler_process import HandlerFailed
from local.aws.moto import local_aws
from local.aws.stack import deploy
from local.score import draw_testset, run_score
from model_build.data import dataset
from model_build.data.dataset import DataError, Dataset
from ops.testset import BUCKET_OUTPUT, UploadError, upload
from score.keys import LATEST, REPORT, night_key

PHOTOGRAPHS = 1000


def measure(sources: Sources, rounds: int, photographs: int) -> dict[str, Any]:
    """The part `nightly` of bench.json. Raises UploadError, HandlerFailed, ModelError, DataError."""
    OUT.mkdir(parents=True, exist_ok=True)
    whole, scoring = [], []
    with local_aws() as aws, (OUT / "score.log").open("w", encoding="utf-8") as log:
        stack = deploy(aws)
        bucket, s3 = stack.outputs[BUCKET_OUTPUT], aws.client("s3")
        labels, data = sources.manifest.labels, dataset.scan(sources.data)
        drawn = sources.drawn or data.labels != labels  # photographs of other things have no label to be scored by
        if drawn:
            pictures = draw_testset(aws, bucket, labels, photographs // len(labels))
        else:
            pictures = upload(s3, bucket, _linked(data, photographs)).uploaded
        for _ in range(rounds + 1):  # the first one reads the files of libraries from disk
            start = time.perf_counter()
            run_score(aws, stack, sources.model, log, datetime.now(UTC))
            whole.append(time.perf_counter() - start)
            report = json.loads(s3.get_object(Bucket=bucket, Key=night_key(LATEST, REPORT))["Body"].read())
            scoring.append(report["speed"]["seconds"])
    return {
        "on": "moto",
        "photographs": pictures,
        "drawn": drawn,
        "side": sources.side,
        "seconds": spread(whole[1:]).to_json(),
        "scoring_seconds": spread(scoring[1:]).to_json(),
        "thousand_seconds": spread(
            [
                night - score + score * PHOTOGRAPHS / pictures
                for night, score in zip(whole[1:], scoring[1:], strict=True)
            ]
        ).to_json(),
    }


def _linked(data: Dataset, photographs: int) -> Path:
    """A folder with so many of the test photographs, evenly taken from each label."""
    folder = OUT / "testset"
    shutil.rmtree(folder, ignore_errors=True)
    for number, example in enumerate(dataset.spread(data.splits["test"], photographs)):
        place = folder / data.labels[example.label] / f"{number} {example.path.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(example.path.resolve())
    return folder


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.nightly", description=__doc__.split("\n")[0])
    add_options(parser)
    chosen = parser.parse_args()
    try:
        found = measure(read(chosen), *((1, 40) if chosen.quick else (2, PHOTOGRAPHS)))
    except (BenchError, ModelError, DataError, UploadError, HandlerFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(nightly_table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
