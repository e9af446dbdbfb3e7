"""What the model said of each picture of the test set, and predictions.csv, which keeps it for the next night."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

from labeller.results import Prediction

PREDICTIONS_FILE = "predictions.csv"
"""Its name, beside a night's report, and beside model.onnx for what the build itself found."""

COLUMNS = ("key", "true", "predicted", "right", "unsure", "confidence", "probability_of_true", "sha256")

# A cell that begins so is a formula to a spreadsheet (OWASP, "CSV Injection"), and keys are named by strangers. The
# apostrophe is among them so that what is written can be read back.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")

Identity = tuple[str, str]
"""True label and SHA-256 of the content: the same picture, whatever it is called."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One picture of the test set and the model's answer."""

    key: str  # within the test set: label/name
    true: str
    sha256: str  # of the content
    prediction: Prediction
    unsure: bool  # the confidence is below the model's threshold, so that production would not use the label
    thumbnail: str | None = None  # a data URI, where the picture may be shown in the report

    @property
    def right(self) -> bool:
        """Whether the likeliest label is the true one, sure or not."""
        return self.prediction.label == self.true

    @property
    def identity(self) -> Identity:
        """What makes it the same picture on another night."""
        return (self.true, self.sha256)


@dataclass(frozen=True, slots=True)
class Unscored:
    """One picture of the test set that has no answer, and why."""

    key: str
    reason: str  # a word, and after a colon what more there is to say

    @property
    def cause(self) -> str:
        """The word alone: TRUNCATED, AWS, ..."""
        return self.reason.partition(":")[0]


def write_csv(scored: Iterable[Scored]) -> bytes:
    """predictions.csv, UTF-8 with a byte order mark (Excel asks for one), one line a picture, in order of keys.

    A text that a spreadsheet would run as a formula has an apostrophe in front.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for each in sorted(scored, key=lambda one: one.key):
        true_share = each.prediction.scores.get(each.true, 0.0)
        writer.writerow(
            (
                _cell(each.key),
                _cell(each.true),
                _cell(each.prediction.label),
                "yes" if each.right else "no",
                "yes" if each.unsure else "no",
                f"{each.prediction.confidence:.6f}",
                f"{true_share:.6f}",
                each.sha256,
            )
        )
    # A key may hold half of a surrogate pair only if it was made here; S3's are UTF-8.
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", errors="replace")


def read_csv(content: bytes) -> dict[Identity, str]:
    """The predicted label of each picture in a predictions.csv. Raises ValueError if it is none, or damaged."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    needed = {"true", "predicted", "sha256"}
    answers: dict[Identity, str] = {}
    try:
        if not needed <= set(rows.fieldnames or ()):
            raise ValueError(f"no predictions.csv: its columns are {rows.fieldnames}")
        for row in rows:
            true, predicted, sha256 = row["true"], row["predicted"], row["sha256"]
            if true is None or predicted is None or sha256 is None:
                raise ValueError(f"a damaged predictions.csv: line {rows.line_num} has too few columns")
            answers[_plain(true), sha256] = _plain(predicted)
    except csv.Error as error:
        raise ValueError(f"a damaged predictions.csv: line {rows.line_num}: {error}") from error
    return answers


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") else cell
