"""Where reports lie in the bucket.

accuracy/<date>/runs/<run>/predictions.csv, report.json     what one run found out; never written again
accuracy/<date>/index.html, report.json, predictions.csv    the run that counts
accuracy/latest/...                                         the newest night's
accuracy/index.html                                         the list of nights
"""

from __future__ import annotations

from datetime import date

from evaluation.predictions import PREDICTIONS_FILE

REPORTS_PREFIX = "accuracy/"
LATEST = "latest"
PAGE, REPORT, PREDICTIONS = "index.html", "report.json", PREDICTIONS_FILE
LIST = REPORTS_PREFIX + "index.html"


def run_key(night: date, run: str, name: str) -> str:
    """Where one of a run's own objects lies."""
    return f"{REPORTS_PREFIX}{night}/runs/{run}/{name}"


def night_key(night: date | str, name: str = PAGE) -> str:
    """Where one opens the report of a night, or of "latest"."""
    return f"{REPORTS_PREFIX}{night}/{name}"
