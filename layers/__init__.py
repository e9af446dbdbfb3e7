"""The Lambda layers: libraries and model, reproducible byte for byte, within Lambda's size limit."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the checkout


class PackagingError(Exception):
    """A layer or its runtime cannot be made; the message says why and what to do."""

    exit_code = 1
