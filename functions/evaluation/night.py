"""A night in short: what later nights and the list of nights need of its report.json."""

import json
import math
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from evaluation.metrics import Interval

SCHEMA_VERSION = 1  # of report.json
NIGHTS = 30  # length of the trend


class Verdict(StrEnum):
    """The night in one word."""

    BETTER = "BETTER"
    SAME = "SAME"
    WORSE = "WORSE"
    INCOMPLETE = "INCOMPLETE"  # some pictures could not be scored
    FIRST = "FIRST"  # complete, with nothing to compare with


@dataclass(frozen=True, slots=True)
class Night:
    """What later nights need of a night: for the trend and for their comparison."""

    date: date
    verdict: Verdict
    model_version: str
    pictures: int  # scored
    correct: int
    interval: Interval
    stability_index: float  # NaN without uploads
    uploads: int
    unsure: int  # uploads
    unknown: int | None  # uploads; None if the model could not say so
    unreadable: int  # uploads
    predictions_key: str

    @property
    def accuracy(self) -> float:
        """0..1; NaN if nothing was scored."""
        return self.correct / self.pictures if self.pictures else math.nan

    @property
    def unsure_share(self) -> float:
        """Of the uploads; NaN without uploads."""
        return self.unsure / self.uploads if self.uploads else math.nan

    @property
    def unknown_share(self) -> float:
        """Of the uploads; NaN without uploads, and if the model could not say so."""
        return self.unknown / self.uploads if self.uploads and self.unknown is not None else math.nan

    @property
    def unreadable_share(self) -> float:
        """Of the uploads; NaN without uploads."""
        return self.unreadable / self.uploads if self.uploads else math.nan


def read_night(content: bytes) -> Night:
    """The night of a report.json. Raises ValueError for a damaged file and for another schema version."""
    try:
        report = json.loads(content)
        if report["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {report['schema_version']!r}, this code reads {SCHEMA_VERSION}")
        figures, uploads = report["figures"], report["uploads"]
        index = uploads["stability_index"] if uploads else None
        # Reports of earlier versions have neither member.
        says_unknown = bool(uploads) and report["model"].get("familiarity_threshold") is not None
        return Night(
            date=date.fromisoformat(report["date"]),
            verdict=Verdict(report["verdict"]),
            model_version=str(report["model"]["version"]),
            pictures=int(figures["pictures"]) if figures else 0,
            correct=int(figures["correct"]) if figures else 0,
            interval=Interval(**figures["interval"]) if figures else Interval(0.0, 1.0),
            stability_index=math.nan if index is None else float(index),
            uploads=int(uploads["total"]) if uploads else 0,
            unsure=int(uploads["unsure"]) if uploads else 0,
            unknown=int(uploads["unknown"]) if says_unknown else None,
            unreadable=int(uploads["unreadable"]) if uploads else 0,
            predictions_key=str(report["predictions_key"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a report.json of schema {SCHEMA_VERSION}: {error!r}") from error
