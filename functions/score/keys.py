"""Keys of the reports in the bucket.

accuracy/<date>/runs/<run>/predictions.csv, report.json     one run's results, never overwritten
accuracy/<date>/index.html, report.json, predictions.csv    the last run of the night
accuracy/latest/...                                         the newest night
accuracy/index.html                                         the list of nights
"""

from datetime import date

from evaluation.predictions import PREDICTIONS_FILE

REPORTS_PREFIX = "accuracy/"
LATEST = "latest"
PAGE, REPORT, PREDICTIONS = "index.html", "report.json", PREDICTIONS_FILE
LIST = REPORTS_PREFIX + "index.html"


def run_key(night: date, run: str, name: str) -> str:
    """Key of a file of one run."""
    return f"{REPORTS_PREFIX}{night}/runs/{run}/{name}"


def night_key(night: date | str, name: str = PAGE) -> str:
    """Key of a file of a night, or of "latest"."""
    return f"{REPORTS_PREFIX}{night}/{name}"
