"""List the objects that got a label on a day: `python -m ops.labels --label cats --day 2026-11-23`.

    python -m ops.labels --label L [--day D] [--stack NAME | --table NAME] [--limit N] [--json]

Queries the table's index by label and day, in AWS or at AWS_ENDPOINT_URL. Prints one line a row, oldest first: time,
status, confidence, object, version; with --json, one JSON object a line. `--label` is one of the model's labels, or
UNSURE, UNKNOWN, UNREADABLE or DELETED. Days are UTC.

To query without this command: a row's `label_day` is "<label>#<day>#<shard>", with shards 0 to 7. Query the index once
for each shard (KeyConditionExpression "label_day = :key") and merge by `classified_at`:

    aws dynamodb query --table-name T --index-name by-label-and-day \\
      --key-condition-expression 'label_day = :key' --expression-attribute-values '{":key": {"S": "cats#2026-11-23#0"}}'

Exit status: 0; 1 the table or the stack cannot be read; 2 wrong arguments.
"""

import argparse
import itertools
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import boto3

from evaluation.storage import rows_of_day
from labeller.text import printable
from ops.cli import add_stack_argument, command_parser, day, exit_status, positive
from ops.stack import describe_stack

LabelRow = dict[str, Any]
"""A row of the index: attribute -> value."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.labels", __doc__)
    parser.add_argument("--label", required=True, help="a label of the model, or UNSURE, UNKNOWN, UNREADABLE, DELETED")
    parser.add_argument("--day", type=day, default=datetime.now(UTC).date(), help="UTC [today]")
    source = parser.add_mutually_exclusive_group()
    add_stack_argument(source)
    source.add_argument("--table", help="name of the table, instead of the stack's")
    parser.add_argument("--limit", type=positive, help="number of rows to print at most [all]")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    return exit_status(lambda: print_rows(options))


def print_rows(options: argparse.Namespace) -> int:
    """Print the rows; returns the exit status."""
    stack = None if options.table else describe_stack(options.stack)
    table = stack.output("ResultsTableName") if stack else options.table
    rows = rows_of_day(boto3.client("dynamodb"), table, options.label, options.day)
    empty = True
    try:
        for row in itertools.islice(rows, options.limit):
            print(json.dumps(row, default=float, ensure_ascii=False) if options.json else format_row(row))
            empty = False
    except BrokenPipeError:  # `| head` has closed the pipe; Python must not flush into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if empty:
        why = "" if stack is None or stack.writes("row") else f": {stack.name} writes no rows (parameter Write)"
        print(f"no object is labelled {options.label!r} on {options.day} in {table}{why}", file=sys.stderr)
    return 0


def format_row(row: LabelRow) -> str:
    """A row as a line for people; characters of the object's name that would move the cursor are escaped."""
    confidence = "" if "confidence" not in row else f"{row['confidence']:.4f}"
    status = row.get("reason") or row["status"]
    name = printable(row["object"])
    version = "" if row["version"] == "null" else f"  {row['version']}"
    return f"{row['classified_at']}  {status:<16}{confidence:>6}  {name}{version}"


if __name__ == "__main__":
    sys.exit(main())
