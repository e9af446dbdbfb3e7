"""The model's answers for the test set, and predictions.csv, which keeps them for later comparisons."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

from labeller.results import Prediction, Status

PREDICTIONS_FILE = "predictions.csv"
"""The file's name beside a nightly report, and beside model.onnx for the build's own test pictures."""

COLUMNS = (
    "key",
    "true",
    "predicted",
    "right",
    "status",
    "confidence",
    "familiarity",
    "probability_of_true",
    "sha256",
)

# Spreadsheets run a cell that begins so as a formula (OWASP, "CSV Injection"), and others choose the keys. The
# apostrophe itself is escaped too, so that reading restores the text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")

Identity = tuple[str, str]
"""True label and SHA-256 of the content: the same picture under any name."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One picture of the test set with the model's answer."""

    key: str  # within the test set: label/name
    true: str
    sha256: str  # of the content
    prediction: Prediction
    status: Status  # that an upload would have: LABELLED, UNSURE or UNKNOWN
    thumbnail: str | None = None  # a data URI, if the report may show the picture

    @property
    def right(self) -> bool:
        """Whether the likeliest label is the true one, whatever the status."""
        return self.prediction.label == self.true

    @property
    def labelled(self) -> bool:
        """Whether an upload would get a label."""
        return self.status is Status.LABELLED

    @property
    def identity(self) -> Identity:
        """Identifies the picture across nights."""
        return (self.true, self.sha256)


@dataclass(frozen=True, slots=True)
class Unscored:
    """One picture of the test set without an answer."""

    key: str
    reason: str  # "CAUSE: details"

    @property
    def cause(self) -> str:
        """The cause alone: TRUNCATED, AWS, ..."""
        return self.reason.partition(":")[0]


def write_csv(scored: Iterable[Scored]) -> bytes:
    """predictions.csv: UTF-8 with a byte order mark, which Excel needs; one line a picture, ordered by key.

    A text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for answer in sorted(scored, key=lambda answer: answer.key):
        writer.writerow(
            (
                _escaped(answer.key),
                _escaped(answer.true),
                _escaped(answer.prediction.label),
                "yes" if answer.right else "no",
                answer.status.value,
                f"{answer.prediction.confidence:.6f}",
                "" if answer.prediction.familiarity is None else f"{answer.prediction.familiarity:.6f}",
                f"{answer.prediction.scores.get(answer.true, 0.0):.6f}",
                answer.sha256,
            )
        )
    # S3 keys are UTF-8; only file names of this machine can contain lone surrogates.
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", errors="replace")


def read_csv(content: bytes) -> dict[Identity, str]:
    """The predicted label of each picture in a predictions.csv. Raises ValueError for any other or damaged file."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    answers: dict[Identity, str] = {}
    try:
        if not {"true", "predicted", "sha256"} <= set(rows.fieldnames or ()):
            raise ValueError(f"not a predictions.csv: its columns are {rows.fieldnames}")
        for row in rows:
            true, predicted, sha256 = row["true"], row["predicted"], row["sha256"]
            if true is None or predicted is None or sha256 is None:
                raise ValueError(f"damaged predictions.csv: line {rows.line_num} has too few columns")
            answers[_unescaped(true), sha256] = _unescaped(predicted)
    except csv.Error as error:
        raise ValueError(f"damaged predictions.csv: line {rows.line_num}: {error}") from error
    return answers


def _escaped(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _unescaped(cell: str) -> str:
    return cell[1:] if cell.startswith("'") else cell
