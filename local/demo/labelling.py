"""Upload pictures to the local AWS, run the real handlers on them, and read the results back."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from labeller.results import OTHER
from local.aws.moto import LocalAws, local_aws
from local.aws.poller import Delivery, deliver
from local.aws.results import read_result
from local.aws.stack import Stack, deploy
from local.classify import classify_handler
from local.demo.contact_sheet import Entry
from local.demo.others import other_pictures
from local.score import fetch_reports, run_score
from model_build.data.dataset import Dataset, spread
from ops.testset import BUCKET_OUTPUT
from score.keys import REPORTS_PREFIX
from score.testset import TESTSET_PREFIX

PHOTOGRAPHS = 30

KEY_PATTERNS = (
    "{name}",
    "2026/11/24/{name}",
    "holiday photos/day 1/{name}",
    "a+b=c/{stem} + friends{suffix}",
    "写真/ねこ・いぬ/{name}",
    "Zoë & Jürgen/naïve café {stem}{suffix}",
    "émojis 🐾/{stem} (1){suffix}",
    "100% real/[{stem}]{suffix}",
)
"""Keys as users write them; each passes through S3's URL encoding and back."""

UNREADABLE_UPLOADS: Mapping[str, bytes] = {
    "not pictures/notes renamed.jpg": b"Milk, bread, cat food.\n",
    "not pictures/empty.png": b"",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """An object of the demo."""

    key: str
    content: bytes
    true: str | None  # its class folder; OTHER if it shows none of the classes; None if it is not a picture


@dataclass(frozen=True, slots=True)
class DemoRun:
    """The results of a run."""

    entries: list[Entry]  # one for each upload
    delivery: Delivery
    seconds: float  # from the first message to the last
    night: dict[str, Any]  # the score function's response


def choose_uploads(data: Dataset, others: Path) -> list[Upload]:
    """Test pictures of every class under keys as users write them, pictures of none of them, and two objects that are
    not pictures. `others` is a folder with photographs of none of the classes, which need not exist."""
    uploads: list[Upload] = []
    for number, example in enumerate(spread(data.splits["test"], PHOTOGRAPHS)):
        pattern = KEY_PATTERNS[number % len(KEY_PATTERNS)]
        key = pattern.format(name=example.path.name, stem=example.path.stem, suffix=example.path.suffix)
        if any(upload.key == key for upload in uploads):  # classes may contain files of the same name
            key = f"{data.labels[example.label]}/{key}"
        uploads.append(Upload(key, example.path.read_bytes(), data.labels[example.label]))
    uploads += [Upload(f"none of the labels/{name}", content, OTHER) for name, content in other_pictures(others)]
    return uploads + [Upload(key, content, None) for key, content in UNREADABLE_UPLOADS.items()]


def label_uploads(uploads: list[Upload], model: Path, out: Path) -> DemoRun:
    """Upload everything, run the classify handler on S3's notifications, then the score handler on the same pictures.

    The logs and the report go to the folder `out`. Raises HandlerFailed if the score handler fails.
    """
    print("\nDeploying template.yaml on a local AWS (moto) ...", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    with local_aws() as aws:
        stack = deploy(aws)
        s3 = aws.client("s3")
        for upload in uploads:
            s3.put_object(Bucket=stack.uploads_bucket, Key=upload.key, Body=upload.content)
        print(f"Uploaded {len(uploads)} objects to s3://{stack.uploads_bucket}. S3 notifies the queue.", flush=True)
        start = time.perf_counter()
        with (out / "classify.log").open("w", encoding="utf-8") as log:
            delivery = _classify(aws, stack, model, log)
        seconds = time.perf_counter() - start
        entries = [read_entry(aws, stack, upload) for upload in uploads]
        return DemoRun(entries, delivery, seconds, _score_night(aws, stack, uploads, model, out))


def _classify(aws: LocalAws, stack: Stack, model: Path, log: TextIO) -> Delivery:
    """Deliver the queue's messages to the classify handler in this process."""
    messages = 0
    with classify_handler(stack, model, log) as handler:

        def counting(event: dict[str, Any], context: Any) -> Any:
            nonlocal messages
            response = handler(event, context)
            messages += len(event["Records"])
            print(f"  {messages} messages handled", flush=True)
            return response

        return deliver(aws, stack, counting)


def _score_night(aws: LocalAws, stack: Stack, uploads: list[Upload], model: Path, out: Path) -> dict[str, Any]:
    """Score the model with the uploaded pictures as the test set; the report goes to out/accuracy.

    The scheduled time is tomorrow's, so that the report includes today's uploads.
    """
    bucket = stack.outputs[BUCKET_OUTPUT]
    s3 = aws.client("s3")
    for upload in uploads:
        if upload.true is not None:
            s3.put_object(Bucket=bucket, Key=f"{TESTSET_PREFIX}{upload.true}/{upload.key}", Body=upload.content)
    with (out / "score.log").open("w", encoding="utf-8") as log:
        night = run_score(aws, stack.outputs, model, log, datetime.now(UTC) + timedelta(days=1))
    shutil.rmtree(out / REPORTS_PREFIX, ignore_errors=True)
    fetch_reports(aws, bucket, out)
    return night


def read_entry(aws: LocalAws, stack: Stack, upload: Upload) -> Entry:
    """The result of an upload."""
    result = read_result(aws, stack.results_table, stack.uploads_bucket, upload.key)
    row = result.row
    confidence = row.get("confidence")
    return Entry(
        key=upload.key,
        content=upload.content,
        true=upload.true,
        label=row.get("label"),
        status=row.get("status", "MISSING"),
        confidence=None if confidence is None else float(confidence),
        reason=row.get("reason"),
        tag=result.tags.get(stack.function.environment["TAG_PREFIX"]),
    )
