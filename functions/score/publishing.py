"""How a night's report takes the place of an earlier one: whole, or not at all.

S3 replaces single objects and renames none. So first everything of a run is put where nobody looks yet, and only then
the names that people open are switched, one after the other. If one of these puts fails, those before it are put back
as they were, and the night keeps its earlier report. Every switched object refers to its own run's folder alone; so
even where the process dies in between, whatever one opens leads to one run, and the retry finishes the switch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from evaluation.report import NIGHTS, EarlierReport, read_report
from evaluation.storage import ReportStorage
from labeller.observability import logger
from labeller.storage import AwsFailure
from score.keys import LATEST, LIST, PAGE, PREDICTIONS, REPORT, REPORTS_PREFIX, night_key, run_key

_TYPES = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Texts of the objects that make up a night's report."""

    page: bytes
    report: bytes
    predictions: bytes


def list_nights(storage: ReportStorage) -> list[date]:
    """The nights that have a report, oldest first. Raises AwsFailure."""
    return [night for name in storage.list_folders(REPORTS_PREFIX) if (night := _night(name)) is not None]


def read_earlier(storage: ReportStorage, nights: Iterable[date]) -> list[EarlierReport]:
    """The reports of these nights, oldest first, those left out that are missing or cannot be read (logged).

    Raises AwsFailure.
    """
    found = []
    for night in sorted(nights)[-NIGHTS:]:
        content = storage.read(night_key(night, REPORT))
        try:
            found.append(read_report(content or b""))
        except ValueError as error:
            logger.warning("an earlier report is left out", night=str(night), error=str(error))
    return found


def publish(
    storage: ReportStorage, night: date, run: str, files: ReportFiles, nights: Sequence[date], index: bytes
) -> None:
    """Put a run's objects, then switch to them. `nights` are those known before. Raises AwsFailure, changing nothing.

    The newest night is the latest one too; running an old night again does not make it so.
    """
    contents = ((PREDICTIONS, files.predictions), (REPORT, files.report), (PAGE, files.page))
    for name, content in contents[:2]:
        _write(storage, run_key(night, run, name), content)
    folders = [str(night), *([LATEST] if all(night >= other for other in nights) else [])]
    _switch(
        storage,
        [(night_key(folder, name), content) for folder in folders for name, content in contents] + [(LIST, index)],
    )


def _night(folder: str) -> date | None:
    """The night that a folder is named after; None for a folder of somebody else's."""
    try:
        return date.fromisoformat(folder) if _DATE.fullmatch(folder) else None
    except ValueError:  # 2026-13-01
        return None


def _switch(storage: ReportStorage, objects: Sequence[tuple[str, bytes]]) -> None:
    """Replace all of the objects, or leave all as they are. Raises AwsFailure."""
    before = [(key, storage.read(key)) for key, _ in objects]
    for number, (key, content) in enumerate(objects):
        try:
            _write(storage, key, content)
        except AwsFailure:
            # This one too: of a put that timed out nobody knows whether S3 has taken it.
            _restore(storage, before[: number + 1])
            raise


def _restore(storage: ReportStorage, objects: Sequence[tuple[str, bytes | None]]) -> None:
    for key, content in reversed(objects):
        try:
            if content is None:
                storage.delete(key)
            else:
                _write(storage, key, content)
        except AwsFailure as failure:  # the first failure is the one to raise; the retry of the night mends this
            logger.error("an earlier report could not be put back", key=key, error=str(failure))


def _write(storage: ReportStorage, key: str, content: bytes) -> None:
    storage.write(key, content, _TYPES[key.rpartition(".")[2]])
