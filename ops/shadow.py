"""Compare a new model with the deployed one before deploying it: `make shadow MODEL=build/candidate [STACK=...]`.

    python -m ops.shadow MODEL [--stack NAME] [--baseline DIR] [--day D] [--sample N] [--label L] [--json]

Runs the model in the folder MODEL on the stack's test set and on a sample of the uploads of a day (yesterday, UTC). The
deployed model's answers are those of the latest nightly report, or, before there is one, of the model in --baseline;
for uploads, those in their rows. Nothing is written.

Exit status: 0; 1 it could not be done; 2 wrong arguments; 3 the candidate is significantly worse on the test set.
"""

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

from evaluation.comparison import Comparison, Outcome, Reference, compare_pictures
from evaluation.night import read_night
from evaluation.predictions import Unscored, read_csv
from evaluation.storage import ReportStorage, rows_of_day
from labeller.aws_errors import AwsFailure, Gone
from labeller.classifier import Classifier, load_classifier
from labeller.inference import infer
from labeller.manifest import ModelError
from labeller.pipeline import Deadline, WorkerPool, run
from labeller.records import ref_of
from labeller.results import Status
from labeller.settings import Settings
from labeller.storage import Fetched, Storage, connect
from ops import ROOT
from ops.agreement import (
    Agreement,
    Answer,
    comparison_lines,
    draw_sample,
    measure_agreement,
    unscored_lines,
    upload_lines,
)
from ops.cli import CommandError, add_stack_argument, command_parser, day, exit_status, folder, positive
from ops.labels import LabelRow
from ops.local_stack import LOCAL, MODEL
from ops.stack import describe_stack
from score.keys import LATEST, REPORT, night_key
from score.scorer import Scorer
from score.testset import TESTSET_PREFIX, InvalidTestSet, TestSet, find_test_set

BASELINE = ROOT / "build/model"
_DAY = 24 * 3600.0  # seconds; a deadline that is never reached


@dataclass(frozen=True, slots=True)
class Shadow:
    """A candidate, and the stack's pictures and reports."""

    candidate: Classifier
    settings: Settings
    pictures: Storage
    reports: ReportStorage

    def compare_on_test_set(self, baseline: Path) -> tuple[Comparison | None, tuple[Unscored, ...]]:
        """The comparison, picture by picture, and the pictures without an answer of the candidate.

        None if the two models have no picture in common. Raises InvalidTestSet, CommandError, AwsFailure, ModelError.
        """
        test_set = find_test_set(self.reports.bucket, self.reports.list_keys(TESTSET_PREFIX), self.candidate.labels)
        deployed = self._latest_answers() or self._baseline_answers(baseline, test_set)
        candidate = self._scorer(self.candidate).score(test_set.examples, Deadline.in_seconds(_DAY))
        comparison = compare_pictures(deployed.name, deployed.model_version, deployed.answers, candidate.scored)
        return comparison, candidate.unscored

    def compare_on_uploads(self, rows: Iterable[LabelRow], day: date, size: int) -> Agreement:
        """The agreement on a sample of `size` rows. Raises ModelError; AwsFailure if no upload can be fetched."""
        sampled = draw_sample(rows, size)
        in_flight = self.settings.objects_in_flight
        aws_pool, cpu_pool = WorkerPool(in_flight, "aws"), WorkerPool(self.settings.onnx_threads, "cpu")

        async def classify(row: LabelRow) -> Answer:
            ref = ref_of(row)
            fetched = await aws_pool(self.pictures.fetch, ref, self.settings.max_image_bytes)
            labelled = await aws_pool(self.pictures.read_row, ref, "etag")  # the index has no ETag
            if fetched.etag != labelled.get("etag"):
                raise Gone(f"{ref.path} was replaced")
            return await cpu_pool(self._predict, fetched)

        answers = asyncio.run(run(sampled, classify, in_flight=in_flight))
        return measure_agreement(day, sampled, answers)

    def _predict(self, fetched: Fetched) -> Answer:
        answer = infer(fetched, self.candidate, self.settings, {})
        return answer.prediction.label, answer.prediction.confidence, answer.result.status

    def _latest_answers(self) -> Reference | None:
        content = self.reports.read(night_key(LATEST, REPORT))
        if content is None:
            return None
        try:
            night = read_night(content)
            answers = read_csv(self.reports.read(night.predictions_key) or b"")
        except ValueError as error:
            raise CommandError(f"the latest nightly report cannot be compared: {error}. Run the night again") from error
        return Reference(f"the night of {night.date}", night.model_version, night.correct, night.pictures, answers)

    def _baseline_answers(self, baseline: Path, test_set: TestSet) -> Reference:
        try:
            model = load_classifier(baseline, threads=1)
        except ModelError as error:
            raise CommandError(
                f"the deployed model has no nightly report yet, and the baseline is not a model: {error}. Wait for the "
                "next night, or name the folder of the deployed model: --baseline (make: BASELINE=...)"
            ) from error
        scored = self._scorer(model).score(test_set.examples, Deadline.in_seconds(_DAY)).scored
        answers = {answer.identity: answer.prediction.label for answer in scored}
        correct = sum(answer.right for answer in scored)
        return Reference(f"{baseline}, scored now", model.version, correct, len(scored), answers)

    def _scorer(self, model: Classifier) -> Scorer:
        return Scorer(self.reports.bucket, self.pictures, model, self.settings, ())


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    parser = command_parser("ops.shadow", __doc__)
    parser.add_argument("model", type=folder, metavar="MODEL", help="the candidate: model.onnx and manifest.json")
    add_stack_argument(parser)
    parser.add_argument("--baseline", type=Path, help="the deployed model, used until a night has scored it")
    parser.add_argument("--day", type=day, default=yesterday, help="day of the uploads, UTC [yesterday]")
    parser.add_argument("--sample", type=positive, default=500, help="number of uploads to compare, at most [500]")
    parser.add_argument(
        "--label", action="append", default=[], help="a label of the deployed model that the candidate does not have"
    )
    parser.add_argument("--json", action="store_true", help="figures instead of sentences")
    options = parser.parse_args(arguments)
    if options.baseline is None:
        options.baseline = Path(os.environ[MODEL]) if options.stack == LOCAL else BASELINE
    return exit_status(lambda: compare(options), ModelError, AwsFailure)


def compare(options: argparse.Namespace) -> int:
    """Print both comparisons; returns the exit status."""
    stack = describe_stack(options.stack)
    table = stack.output("ResultsTableName")
    shadow = Shadow(
        candidate=load_classifier(options.model, threads=1),
        settings=settings_of(table, stack.parameters),
        pictures=connect(table),
        reports=ReportStorage(stack.output("ReportsBucketName"), table),
    )
    test_set: Comparison | None = None
    unscored: tuple[Unscored, ...] = ()
    reason = "the two models have no picture in common"
    try:
        test_set, unscored = shadow.compare_on_test_set(options.baseline)
    except InvalidTestSet as error:
        reason = str(error)
    dynamodb = boto3.client("dynamodb")
    labels = dict.fromkeys((*shadow.candidate.labels, *options.label, Status.UNSURE.value, Status.UNKNOWN.value))
    rows = (row for label in labels for row in rows_of_day(dynamodb, table, label, options.day))
    uploads = shadow.compare_on_uploads(rows, options.day, options.sample)
    version = shadow.candidate.version
    if options.json:
        figures = {
            "candidate": version,
            "test_set": test_set and asdict(test_set),
            "unscored": [asdict(picture) for picture in unscored],
            "uploads": asdict(uploads),
        }
        print(json.dumps(figures, indent=2, default=str, ensure_ascii=False))
    else:
        lines = comparison_lines(version, test_set) if test_set else [f"Test set: {reason}"]
        print("\n".join([*lines, *unscored_lines(unscored), *upload_lines(uploads)]))
        if not stack.writes("row"):
            print(f"{stack.name} writes no rows (parameter Write): uploads cannot be compared")
    return 3 if test_set and test_set.outcome is Outcome.WORSE else 0


def settings_of(table: str, parameters: Mapping[str, str]) -> Settings:
    """The settings that a model would have in the stack: its limits and its thresholds."""
    variables = {
        "CONFIDENCE_THRESHOLD": parameters.get("ConfidenceThreshold", ""),
        "FAMILIARITY_THRESHOLD": parameters.get("FamiliarityThreshold", ""),
        "MAX_IMAGE_BYTES": parameters.get("MaxImageBytes", ""),
        "TAG_PREFIX": parameters.get("TagPrefix", ""),
        "WRITE": parameters.get("Write", ""),
    }
    threads = str(len(os.sched_getaffinity(0)))
    return Settings.from_env({"RESULTS_TABLE": table, "ONNX_THREADS": threads, **variables})


if __name__ == "__main__":
    sys.exit(main())
