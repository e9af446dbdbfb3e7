"""Publishing a night's report: it replaces an earlier one as a whole, or not at all.

S3 replaces single objects and cannot rename. So a run's own files are written first, under keys that no page links to,
then the objects that people open are switched one after the other. If one of these puts fails, the earlier ones are
restored. Every switched object links only to its own run's folder: even if the process dies between two puts, each
page is consistent, and the retry completes the switch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from evaluation.night import NIGHTS, Night, read_night
from evaluation.storage import ReportStorage
from labeller.aws_errors import AwsFailure
from labeller.observability import logger
from score.keys import LATEST, LIST, PREDICTIONS, REPORT, REPORTS_PREFIX, night_key, run_key

_TYPES = {"html": "text/html; charset=utf-8", "json": "application/json", "csv": "text/csv; charset=utf-8"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def list_nights(storage: ReportStorage) -> list[date]:
    """The nights that have a report, oldest first. Raises AwsFailure."""
    return [night for name in storage.list_folders(REPORTS_PREFIX) if (night := _night(name)) is not None]


def read_earlier(storage: ReportStorage, nights: Iterable[date]) -> list[Night]:
    """The last NIGHTS of these nights, oldest first, without those whose report is unreadable (logged).

    Raises AwsFailure.
    """
    readable = []
    for night in sorted(nights)[-NIGHTS:]:
        content = storage.read(night_key(night, REPORT))
        try:
            readable.append(read_night(content or b""))
        except ValueError as error:
            logger.warning("an earlier report cannot be read", night=str(night), error=str(error))
    return readable


def publish(
    storage: ReportStorage, night: date, run: str, files: Mapping[str, bytes], nights: Sequence[date], index: bytes
) -> None:
    """Write a run's files and switch to them. Raises AwsFailure, changing nothing.

    `files`: PREDICTIONS, REPORT and PAGE by name, in any order. `nights`: those that have a report.
    The newest night is also the latest one; repeating an old night does not make it the latest.
    """
    for name in (PREDICTIONS, REPORT):
        _write(storage, run_key(night, run, name), files[name])
    folders = [str(night), *([LATEST] if all(night >= other for other in nights) else [])]
    switched = [(night_key(folder, name), content) for folder in folders for name, content in files.items()]
    _switch(storage, [*switched, (LIST, index)])


def _night(folder: str) -> date | None:
    """The night that a folder is named after; None for any other folder."""
    try:
        return date.fromisoformat(folder) if _DATE.fullmatch(folder) else None
    except ValueError:  # 2026-13-01
        return None


def _switch(storage: ReportStorage, objects: Sequence[tuple[str, bytes]]) -> None:
    """Replace all of the objects, or none. Raises AwsFailure."""
    before = [(key, storage.read(key)) for key, _ in objects]
    for number, (key, content) in enumerate(objects):
        try:
            _write(storage, key, content)
        except AwsFailure:
            # Restore this one too: a put that timed out may have succeeded.
            _restore(storage, before[: number + 1])
            raise


def _restore(storage: ReportStorage, objects: Sequence[tuple[str, bytes | None]]) -> None:
    for key, content in reversed(objects):
        try:
            if content is None:
                storage.delete(key)
            else:
                _write(storage, key, content)
        except AwsFailure as failure:  # the first failure is raised; the retry of the night repairs this object
            logger.error("an earlier report could not be restored", key=key, error=str(failure))


def _write(storage: ReportStorage, key: str, content: bytes) -> None:
    storage.write(key, content, _TYPES[key.rpartition(".")[2]])
