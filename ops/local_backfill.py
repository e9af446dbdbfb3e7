"""The backfill without S3 Batch Operations, for another object store: `make backfill ENGINE=local BUCKET=...`.

Labels the objects in this process with the function's own code, at the S3 and DynamoDB that the environment leads to
(AWS_ENDPOINT_URL) and with the function's variables (RESULTS_TABLE, ...) from the environment, or, for the stack of
`make local`, from that stack. An object that has a label of the current model is skipped, so an interrupted run is run
again, and does only what is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from labeller.events import Delivery, ObjectRef, Request, Source
from labeller.pipeline import Deadline
from labeller.text import printable
from ops import ROOT, local_stack
from ops.batch_operations import read_manifest
from ops.cli import CommandError, Console
from ops.stack import StackDescription, describe_stack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from classify.labelling import Labeller

MODEL = ROOT / "build/model"
LOG = ROOT / "build/backfill.log"
ATTEMPTS = 3  # at an object whose labelling fails
BATCH = 10  # objects labelled at once
SHOWN = 20  # failures that are printed; the log has all
_BATCH_SECONDS = 900.0  # an object that takes longer fails; Lambda's own limit

Failure = tuple[ObjectRef, Exception]


def run(options: argparse.Namespace, console: Console) -> int:
    """List the objects, ask, label them and print the result; returns the exit status: 1 if any object failed."""
    if options.manifest and options.manifest.startswith("s3://"):
        raise CommandError("ENGINE=local reads a MANIFEST of this machine: download it first")
    if options.stack == local_stack.LOCAL:
        options.bucket = _take_over(describe_stack(options.stack), options.bucket)
    if not options.manifest and not options.bucket:
        raise CommandError("name the bucket: --bucket (make: BUCKET=...)")
    options.log.parent.mkdir(parents=True, exist_ok=True)
    with options.log.open("a", encoding="utf-8") as log:
        with redirect_stdout(log):  # Powertools' logger keeps the stream that it is created with
            labeller = load_labeller(only_stale=not options.all)
        if options.manifest:
            objects = [ref for ref in read_manifest(Path(options.manifest)) if not ref.key.endswith("/")]
        else:
            objects = list(list_objects(boto3.client("s3"), options.bucket, options.prefix))
        console.print(f"{len(objects):,} objects, {BATCH} at once on this machine; log: {options.log}")
        if not objects or not console.confirms("Start?"):
            console.print("Nothing was labelled.")
            return 0

        def label(batch: Sequence[ObjectRef]) -> list[str | Exception]:
            with redirect_stdout(log):
                return label_batch(labeller, batch)

        results, failures = label_objects(objects, label, console)
        reasons = [printable(f"{ref.path}: {error}") for ref, error in failures]  # an error names the object, too
        log.writelines(f"{reason}\n" for reason in reasons)
    counts = ", ".join(f"{number:,} {result}" for result, number in results.most_common())
    console.print(f"{results.total():,} of {len(objects):,} done ({counts or 'none'}), {len(failures):,} failed")
    for reason in reasons[:SHOWN]:
        console.print(f"  {reason}")
    if failures:
        console.print(f"All failures are in {options.log}. Run this again: what is done is skipped.")
    return 1 if failures else 0


def _take_over(stack: StackDescription, bucket: str) -> str:
    """Take the variables of the stack's backfill function, except the model's place; returns the bucket to label."""
    function = boto3.client("lambda").get_function_configuration(FunctionName=stack.output("BackfillFunctionArn"))
    os.environ.update(function["Environment"]["Variables"] | {local_stack.MODEL: os.environ[local_stack.MODEL]})
    return stack.bucket(bucket)


def label_objects(
    objects: Sequence[ObjectRef],
    label: Callable[[Sequence[ObjectRef]], list[str | Exception]],
    console: Console,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Counter[str], list[Failure]]:
    """Label all objects and show the progress; returns how many ended how, and those that failed at every attempt."""
    results: Counter[str] = Counter()
    failures: list[Failure] = []
    pending = objects
    for attempt in range(ATTEMPTS):
        if attempt and pending:
            sleep(2.0**attempt)
        failures = []
        for start in range(0, len(pending), BATCH):
            batch = pending[start : start + BATCH]
            for ref, result in zip(batch, label(batch), strict=True):
                if isinstance(result, Exception):
                    failures.append((ref, result))
                else:
                    results[result] += 1
            done = results.total()
            console.show_progress(
                f"{done:,} of {len(objects):,} done ({done / len(objects):.1%}), {len(failures):,} failed"
            )
        pending = [ref for ref, _ in failures]
    return results, failures


def load_labeller(only_stale: bool) -> Labeller:
    """The function's labeller; what the environment does not set is set as for the function.

    Raises SettingsError, ModelError.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    from classify.app import get_ready_labeller  # after the variables, which Powertools reads when it is imported

    return replace(get_ready_labeller(), only_stale=only_stale)


def label_batch(labeller: Labeller, batch: Sequence[ObjectRef]) -> list[str | Exception]:
    """Label some objects at once; how each ended, or why it failed, in their order."""
    from classify.app import label_all

    request = Request(Source.BATCH_OPERATIONS, tuple(Delivery(ref.path, (ref,)) for ref in batch))
    outcomes = asyncio.run(label_all(labeller, request, Deadline.in_seconds(_BATCH_SECONDS)))
    return [result if isinstance(result, Exception) else result[0].ending.value for result in outcomes]


def list_objects(s3: S3Client, bucket: str, prefix: str) -> Iterator[ObjectRef]:
    """Every object under `prefix`, except folders (keys that end in a slash)."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (
            ObjectRef(bucket, entry["Key"]) for entry in page.get("Contents", []) if not entry["Key"].endswith("/")
        )


_DEFAULTS = {
    "MODEL_DIR": str(MODEL),
    "POWERTOOLS_SERVICE_NAME": "backfill",
    "POWERTOOLS_METRICS_NAMESPACE": "ImageLabeller",
    "POWERTOOLS_TRACE_DISABLED": "true",
}
