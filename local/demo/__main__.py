"""The whole path on this machine, with nothing but Python: `make demo`.

    python -m local.demo [--data DIR] [--weights W] [--image-size S] [--shared DIR]

Photographs -> model -> local AWS made from template.yaml -> uploads -> S3 notifies the queue -> the real classify
handler -> tags and rows, read back and printed -> the nightly report.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from local.aws.handler_process import HandlerFailed
from local.aws.moto import LocalAws, local_aws, process_environment
from local.aws.poller import Delivery, deliver
from local.aws.stack import Stack, deploy
from local.demo import contact_sheet, inputs
from local.demo.contact_sheet import Entry
from local.nightly import fetch_reports, run_score
from model_build.__main__ import run
from model_build.config import BuildConfig
from model_build.data.dataset import DataError, Dataset, scan, spread
from model_build.fingerprint import build_fingerprint
from model_build.progress import progress_bar
from ops.testset import BUCKET_OUTPUT
from score.keys import LATEST, REPORTS_PREFIX, night_key
from score.testset import TESTSET_PREFIX

OUT = Path("build/demo")
MODELS = (Path("build/model"), OUT / "model")
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
"""Keys as users make them: every one goes through S3's URL encoding and back."""

UNREADABLE_UPLOADS: Mapping[str, bytes] = {
    "not pictures/notes renamed.jpg": b"Milk, bread, cat food.\n",
    "not pictures/empty.png": b"",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """An object of the demo; `true` is its class folder, None for what is no picture."""

    key: str
    content: bytes
    true: str | None


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit status: 0 if every upload ended as it should."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with train/, validation/, test/ (default: what is found)")
    parser.add_argument("--weights", help="imagenet, random or an .h5 file (default: what is found)")
    parser.add_argument("--image-size", type=int, help="side of the network's input (default: by the weights)")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="where to look for both")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        taken = take(options)
        data = scan(Path(taken.data))
        model = model_for(taken, data)
    except (DataError, ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if model is None:
        return 1
    uploads = choose_uploads(data)
    try:
        entries, delivery, seconds, night = label(uploads, model)
    except HandlerFailed as error:
        print(f"error: the night's report: {error}. See {OUT}/score.log", file=sys.stderr)
        return 1
    print_table(entries)
    write_results(entries, taken, model)
    print(f"\nThe coming night's report on the {pictures(entries)} pictures:\n{night['headline']}.")
    return conclude(entries, delivery, seconds, time.perf_counter() - start, model)


def take(options: argparse.Namespace) -> inputs.Choice:
    """What the model is made from: named, remembered from the last demo, or found. Said in one line."""
    named = ("data", "weights", "image_size", "shared")
    asked = {name: None if getattr(options, name) is None else str(getattr(options, name)) for name in named}
    note = OUT / "choice.json"
    taken = inputs.remembered(note, asked)
    if taken is None:
        taken = inputs.choose(options.data, options.weights, options.image_size, options.shared, OUT / "drawn-pictures")
        inputs.remember(note, asked, taken)
    print(f"Made from {taken.said}.", flush=True)
    return taken


def model_for(taken: inputs.Choice, data: Dataset) -> Path | None:
    """The folder of a model made from exactly this, built now where there is none; None if that failed.

    A model in build/model that was made from something else is left alone; the demo's then goes elsewhere.
    """
    config = BuildConfig(Path(taken.data), taken.weights, taken.image_size)
    key = build_fingerprint(config, data)
    for folder in MODELS:
        try:
            if Manifest.from_file(folder / MANIFEST_FILE).build.get("key") == key:
                print(f"The model in {folder} was made from the same; it is used as it is.", flush=True)
                return folder
        except ModelError:
            continue
    folder = next((folder for folder in MODELS if not folder.exists()), MODELS[-1])
    return None if run(replace(config, out=folder)) else folder


def choose_uploads(data: Dataset) -> list[Upload]:
    """Test pictures of every class under keys as users make them, and two objects that are no pictures."""
    uploads: list[Upload] = []
    for number, example in enumerate(spread(data.splits["test"], PHOTOGRAPHS)):
        pattern = KEY_PATTERNS[number % len(KEY_PATTERNS)]
        key = pattern.format(name=example.path.name, stem=example.path.stem, suffix=example.path.suffix)
        if any(upload.key == key for upload in uploads):  # classes may hold files of the same name
            key = f"{data.labels[example.label]}/{key}"
        uploads.append(Upload(key, example.path.read_bytes(), data.labels[example.label]))
    return uploads + [Upload(key, content, None) for key, content in UNREADABLE_UPLOADS.items()]


def label(uploads: list[Upload], model: Path) -> tuple[list[Entry], Delivery, float, dict[str, Any]]:
    """Upload everything, run the real handler on what S3 told the queue, and read the results back; then the night.

    Returns an entry for each upload, what the poller did, the seconds from the first message to the last, and what
    the score function answered.
    """
    print("\nStarting AWS on this machine (moto) and creating what template.yaml declares ...", flush=True)
    log_path = OUT / "classify.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as context:
        aws = context.enter_context(local_aws())
        stack = deploy(aws)
        s3 = aws.client("s3")
        with progress_bar(len(uploads), "uploads") as advance:
            for upload in uploads:
                s3.put_object(Bucket=stack.uploads_bucket, Key=upload.key, Body=upload.content)
                advance(1)
        print(
            f"{len(uploads)} objects uploaded to {stack.uploads_bucket}; S3 has notified the queue.",
            flush=True,
        )
        log = context.enter_context(log_path.open("w", encoding="utf-8"))
        context.enter_context(process_environment(environment(stack, model)))
        with redirect_stdout(log):  # Powertools' logger and metrics keep the stream they start with
            from classify.app import lambda_handler

        def handler(event: dict[str, Any], lambda_context: Any) -> Any:
            with redirect_stdout(log):
                return lambda_handler(event, lambda_context)

        done = 0

        def show(event: dict[str, Any], _response: Any) -> None:
            nonlocal done
            done += len(event["Records"])
            print(f"      {done} messages through the classify handler", flush=True)

        start = time.perf_counter()
        delivery = deliver(aws, stack, handler, on_batch=show)
        seconds = time.perf_counter() - start
        entries = [read_back(aws, stack, upload) for upload in uploads]
        return entries, delivery, seconds, score_night(aws, stack, uploads, model)


def score_night(aws: LocalAws, stack: Stack, uploads: list[Upload], model: Path) -> dict[str, Any]:
    """The nightly report on the same pictures as the test set, fetched to build/demo/accuracy.

    The night is the coming one, so that the day's uploads, which it looks at too, are those of the demo.
    """
    bucket = stack.outputs[BUCKET_OUTPUT]
    for upload in uploads:
        if upload.true is not None:
            aws.client("s3").put_object(
                Bucket=bucket, Key=f"{TESTSET_PREFIX}{upload.true}/{upload.key}", Body=upload.content
            )
    with (OUT / "score.log").open("w", encoding="utf-8") as log:
        detail = run_score(aws, stack, model, log, datetime.now(UTC) + timedelta(days=1))
    shutil.rmtree(OUT / REPORTS_PREFIX, ignore_errors=True)
    fetch_reports(aws, bucket, OUT)
    return detail


def environment(stack: Stack, model: Path) -> dict[str, str]:
    """The function's environment from the template, with the model where it lies here and no X-Ray."""
    return {
        **stack.function.environment,
        "MODEL_DIR": str(model),
        "AWS_LAMBDA_FUNCTION_NAME": stack.function.name,
        "POWERTOOLS_TRACE_DISABLED": "true",
    }


def read_back(aws: LocalAws, stack: Stack, upload: Upload) -> Entry:
    """What the bucket and the table say of an upload, as anybody would read it."""
    tags = aws.client("s3").get_object_tagging(Bucket=stack.uploads_bucket, Key=upload.key)["TagSet"]
    row = aws.client("dynamodb").get_item(
        TableName=stack.results_table,
        Key={"object": {"S": f"{stack.uploads_bucket}/{upload.key}"}, "version": {"S": "null"}},
        ConsistentRead=True,
    )
    read = TypeDeserializer().deserialize
    item = {name: read(value) for name, value in row.get("Item", {}).items()}
    confidence = item.get("confidence")
    return Entry(
        key=upload.key,
        content=upload.content,
        true=upload.true,
        label=item.get("label"),
        status=item.get("status", "MISSING"),
        confidence=None if confidence is None else float(confidence),
        reason=item.get("reason"),
        tag={tag["Key"]: tag["Value"] for tag in tags}.get(stack.function.environment["TAG_PREFIX"]),
    )


def print_table(entries: list[Entry]) -> None:
    """True class beside tag and row, one line an object."""
    print(f"\n{'true':<12}{'tag':<12}{'row':<24}{'confidence':>10}   key")
    for entry in entries:
        mark = {True: " ", False: "x", None: " "}[entry.right]
        row = entry.reason or (entry.label if entry.status == "LABELLED" else entry.status) or ""
        confidence = "" if entry.confidence is None else f"{entry.confidence:.4f}"
        print(f"{entry.true or '-':<12}{entry.tag or '-':<12}{row:<24}{confidence:>10} {mark} {entry.key}")


def write_results(entries: list[Entry], taken: inputs.Choice, model: Path) -> None:
    """build/demo/labels.json and the contact sheet."""
    fields = ("key", "true", "tag", "status", "label", "confidence", "reason", "right")
    rows = [{name: getattr(entry, name) for name in fields} for entry in entries]
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    (OUT / "labels.json").write_text(text, "utf-8")
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    accuracy = manifest.build["accuracy"]["test"]["int8"]
    contact_sheet.write(
        OUT / "index.html",
        tally(entries),
        (
            f"Made from {taken.said}.",
            f"Model {manifest.model_version}: {accuracy['accuracy']:.1%} of {accuracy['images']} test pictures right.",
        ),
        entries,
    )


def conclude(entries: list[Entry], delivery: Delivery, seconds: float, total: float, model: Path) -> int:
    """Say how it went and what to do next; the exit status."""
    rate = len(entries) / seconds if seconds else 0.0
    print(
        f"\n{tally(entries)}.\n"
        f"{len(entries) - pictures(entries)} uploads that are no pictures are recorded with the reason. "
        f"The handler took {seconds:.1f} s ({rate:.0f} objects a second, {len(os.sched_getaffinity(0))} cores)."
    )
    print(f"  contact sheet  {OUT}/index.html\n  results        {OUT}/labels.json")
    print(f"  the report     {OUT}/{night_key(LATEST)}\n  the logs       {OUT}/classify.log, {OUT}/score.log")
    lost = [entry.key for entry in entries if entry.status == "MISSING" or entry.tag is None]
    unread = [entry.key for entry in entries if (entry.status == "UNREADABLE") != (entry.true is None)]
    if lost or unread or delivery.failed:
        print(
            f"error: without a label or with a wrong status: {sorted({*lost, *unread})}; "
            f"deliveries that failed: {delivery.failed} {list(delivery.errors)}. See {OUT}/classify.log",
            file=sys.stderr,
        )
        return 1
    print(
        f"\nDone in {total:.0f} s. Next:\n"
        "  make model DATA=your/pictures      train on your own classes (the folders' names are the labels)\n"
        "  make layer build                   pack it for Lambda\n"
        "  make invoke EVENT=events/s3-put.json   run the built function here\n"
        "  make deploy                        put it into your AWS account"
    )
    if model != MODELS[0]:
        print(f"This demo's model is in {model}; {MODELS[0]}, which `make layer` packs, is another one.")
    return 0


def tally(entries: list[Entry]) -> str:
    """How the pictures were labelled, in words."""
    right, wrong = (sum(entry.right is verdict for entry in entries) for verdict in (True, False))
    unsure = sum(entry.true is not None and entry.status == "UNSURE" for entry in entries)
    left = f", {unsure} left UNSURE because the model's confidence is below its threshold" if unsure else ""
    return f"{right} of {pictures(entries)} pictures labelled right, {wrong} wrong{left}"


def pictures(entries: list[Entry]) -> int:
    """How many of the uploads are pictures."""
    return sum(entry.true is not None for entry in entries)


if __name__ == "__main__":
    sys.exit(main())
