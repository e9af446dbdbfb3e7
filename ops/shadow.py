"""A new model beside the deployed one, before it is deployed: `make shadow MODEL=build/candidate [STACK=...]`.

    python -m ops.shadow MODEL [--stack NAME] [--baseline DIR] [--day D] [--sample N] [--json]

Asks the model in the folder MODEL about the stack's test set, and about a sample of the uploads of a day (yesterday,
UTC), and compares with what the deployed model said: of the test set in the latest nightly report, or, where there is
none yet, what the model in --baseline says now; of the uploads in their rows. Nothing is written.

Exit status: 0; 1 it could not be done; 2 wrong arguments; 3 the candidate is worse on the test set, and chance is an
unlikely explanation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import boto3

from evaluation.comparison import Comparison, Outcome, compare_pictures
from evaluation.predictions import Identity, Unscored, read_csv
from evaluation.report import read_night
from evaluation.storage import ReportStorage, rows_of_day
from labeller.aws_errors import AwsFailure, Gone
from labeller.classifier import Classifier, load_classifier
from labeller.events import ObjectRef
from labeller.inference import infer
from labeller.manifest import ModelError
from labeller.pipeline import Deadline, WorkerPool, run
from labeller.results import Status
from labeller.settings import Settings
from labeller.storage import Fetched, Storage, connect
from ops import ROOT
from ops.agreement import Agreement, agreement, lines_of_test_set, lines_of_unscored, lines_of_uploads, sample
from ops.cli import CommandError, add_stack_argument, command_parser, day, exit_status, folder, positive
from ops.labels import LabelRow
from ops.stack import describe_stack
from score.keys import LATEST, REPORT, night_key
from score.scorer import Scorer
from score.testset import TESTSET_PREFIX, InvalidTestSet, TestSet, find_test_set

BASELINE = ROOT / "build/model"
_DAY = 24 * 3600.0  # seconds; there is no deadline here


class ShadowError(CommandError):
    """There is nothing to compare with. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the deployed model said of the test set."""

    said_in: str  # in words
    version: str
    labels: dict[Identity, str]


@dataclass(frozen=True, slots=True)
class Shadow:
    """A candidate, and where to look."""

    candidate: Classifier
    settings: Settings
    pictures: Storage
    reports: ReportStorage

    def on_test_set(self, baseline: Path) -> tuple[Comparison | None, tuple[Unscored, ...]]:
        """The candidate against the deployed model, picture by picture; None if both know no picture in common.

        And the pictures that the candidate has no answer to. Raises InvalidTestSet, ShadowError, AwsFailure,
        ModelError.
        """
        listing = find_test_set(self.reports.bucket, self.reports.list_keys(TESTSET_PREFIX), self.candidate.labels)
        deployed = self._latest() or self._scored_now(baseline, listing)
        found = self._scorer(self.candidate).score(listing.examples, Deadline.in_seconds(_DAY))
        return compare_pictures(deployed.said_in, deployed.version, deployed.labels, found.scored), found.unscored

    def on_uploads(self, rows: Iterable[LabelRow], day: date, size: int) -> Agreement:
        """The candidate against the rows of a sample of `size`. Raises ModelError; AwsFailure if nothing can be had."""
        chosen = sample(rows, size)
        in_flight = self.settings.objects_in_flight
        aws_pool, cpu_pool = WorkerPool(in_flight, "aws"), WorkerPool(self.settings.onnx_threads, "cpu")

        async def work(row: LabelRow) -> tuple[str, float]:
            version = None if row["version"] == "null" else row["version"]
            ref = ObjectRef(row["bucket"], row["key"], version, "", "", None, None)
            fetched = await aws_pool(self.pictures.fetch, ref, self.settings.max_image_bytes)
            looked_at = await aws_pool(self.pictures.read_row, ref, "etag")  # the index leaves it out
            if fetched.etag != looked_at.get("etag"):
                raise Gone(f"{ref.path} was replaced")
            return await cpu_pool(self._predict, fetched)

        ends = asyncio.run(run(chosen, work, in_flight=in_flight))
        return agreement(day, chosen, ends, self.settings.threshold_in_force(self.candidate.confidence_threshold))

    def _predict(self, fetched: Fetched) -> tuple[str, float]:
        prediction = infer(fetched, self.candidate, self.settings, {}).prediction
        return prediction.label, prediction.confidence

    def _latest(self) -> Deployed | None:
        content = self.reports.read(night_key(LATEST, REPORT))
        if content is None:
            return None
        try:
            night = read_night(content)
            labels = read_csv(self.reports.read(night.predictions_key) or b"")
        except ValueError as error:
            raise ShadowError(
                f"the latest nightly report cannot be compared with: {error}. Run the night again"
            ) from error
        return Deployed(f"the night of {night.date}", night.model_version, labels)

    def _scored_now(self, baseline: Path, listing: TestSet) -> Deployed:
        try:
            model = load_classifier(baseline, threads=1)
        except ModelError as error:
            raise ShadowError(
                f"there is no nightly report of the deployed model yet, and no model to take its place: {error}. "
                "Let a night pass, or name the folder of the deployed model: BASELINE=..."
            ) from error
        scored = self._scorer(model).score(listing.examples, Deadline.in_seconds(_DAY)).scored
        return Deployed(
            f"{baseline}, asked now", model.version, {each.identity: each.prediction.label for each in scored}
        )

    def _scorer(self, model: Classifier) -> Scorer:
        return Scorer(self.reports.bucket, self.pictures, model, self.settings, ())


# ---- command line -----------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parse(arguments)
    return exit_status(lambda: compare(options), ModelError, AwsFailure)


def compare(options: argparse.Namespace) -> int:
    """Both comparisons, printed; the exit status."""
    stack = describe_stack(options.stack)
    table = stack.output("ResultsTableName")
    shadow = Shadow(
        candidate=load_classifier(options.model, threads=1),
        settings=_settings(table, stack.parameters),
        pictures=connect(table),
        reports=ReportStorage(stack.output("ReportsBucketName"), table),
    )
    test_set: Comparison | None = None
    unscored: tuple[Unscored, ...] = ()
    why = "no picture that both models were asked about"
    try:
        test_set, unscored = shadow.on_test_set(options.baseline)
    except InvalidTestSet as error:
        why = str(error)
    labels = (*shadow.candidate.labels, *options.label, Status.UNSURE.value)
    rows = (
        row
        for label in dict.fromkeys(labels)
        for row in rows_of_day(boto3.client("dynamodb"), table, label, options.day)
    )
    uploads = shadow.on_uploads(rows, options.day, options.sample)
    version = shadow.candidate.version
    if options.json:
        found = {
            "candidate": version,
            "test_set": test_set and asdict(test_set),
            "unscored": [asdict(each) for each in unscored],
            "uploads": asdict(uploads),
        }
        print(json.dumps(found, indent=2, default=str, ensure_ascii=False))
    else:
        print("\n".join(lines_of_test_set(version, test_set) if test_set else [f"Test set: {why}"]))
        for line in lines_of_unscored(unscored):
            print(line)
        print("\n".join(lines_of_uploads(uploads)))
    return 3 if test_set and test_set.outcome is Outcome.WORSE else 0


def _settings(table: str, parameters: Mapping[str, str]) -> Settings:
    """Those that the candidate would have in the stack: its limits and its threshold."""
    variables = {
        "CONFIDENCE_THRESHOLD": "ConfidenceThreshold",
        "MAX_IMAGE_BYTES": "MaxImageBytes",
        "MAX_IMAGE_PIXELS": "MaxImagePixels",
    }
    given = {name: parameters.get(parameter, "") for name, parameter in variables.items()}
    threads = str(len(os.sched_getaffinity(0)))
    return Settings.from_env({"RESULTS_TABLE": table, "ONNX_THREADS": threads, **given})


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command_parser("ops.shadow", __doc__)
    parser.add_argument("model", type=folder, metavar="MODEL", help="the candidate: model.onnx and manifest.json")
    add_stack_argument(parser)
    parser.add_argument(
        "--baseline", type=Path, default=BASELINE, help="the deployed model, until a night has scored it"
    )
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    parser.add_argument("--day", type=day, default=yesterday, help="of the uploads, UTC [yesterday]")
    parser.add_argument("--sample", type=positive, default=500, help="uploads to look at, at most [500]")
    parser.add_argument(
        "--label", action="append", default=[], help="of the deployed model, where the candidate lacks it"
    )
    parser.add_argument("--json", action="store_true", help="figures instead of sentences")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
