"""Commands for a deployed stack: backfill, labels, shadow, test set, redrive, capacity."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the checkout
