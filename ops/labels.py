"""What was labelled so on a day: `python -m ops.labels --label cats --day 2026-11-23`.

    python -m ops.labels --label L [--day D] [--stack NAME | --table NAME] [--limit N] [--json]

Asks the table's index by label and day, in AWS or wherever AWS_ENDPOINT_URL leads. Prints the rows in the order of
their writing: time, status, confidence, object, version; with --json, one JSON object a line. `--label` is one of the
model's labels, or UNSURE, UNREADABLE or DELETED. Days are UTC.

The query, for those who write it themselves: a row's `label_day` is "<label>#<day>#<shard>", shards 0 to 7. So query
the index once for each shard (KeyConditionExpression "label_day = :key") and merge by `classified_at`:

    aws dynamodb query --table-name T --index-name by-label-and-day \\
      --key-condition-expression 'label_day = :key' --expression-attribute-values '{":key": {"S": "cats#2026-11-23#0"}}'

Exit status: 0; 1 the table, or the stack, cannot be read; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from evaluation.storage import rows_of_day
from local.aws.stack import STACK_NAME
from ops.arguments import day, positive
from ops.errors import LocalError, in_words
from ops.stack import stack_output

Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m ops.labels", description=lines[0])
    parser.add_argument("--label", required=True, help="a label of the model's, or UNSURE, UNREADABLE, DELETED")
    parser.add_argument("--day", type=day, default=datetime.now(UTC).date(), help="UTC [today]")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--stack", default=STACK_NAME, help=f"whose table to ask [{STACK_NAME}]")
    where.add_argument("--table", help="the table itself, by its name")
    parser.add_argument("--limit", type=positive, help="the first so many [all]")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    chosen = parser.parse_args(arguments)
    try:
        table = chosen.table or stack_output(chosen.stack, "ResultsTableName")
        rows = rows_of_day(boto3.client("dynamodb"), table, chosen.label, chosen.day)
        number = 0
        for row in itertools.islice(rows, chosen.limit):
            print(json.dumps(row, default=float, ensure_ascii=False) if chosen.json else line(row))
            number += 1
    except (LocalError, ClientError, BotoCoreError) as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `| head` has seen enough; standard output is not to be flushed into it at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if not number:
        print(f"nothing is labelled {chosen.label!r} on {chosen.day} in {table}", file=sys.stderr)
    return 0


def line(row: Row) -> str:
    """A row for people. What is in the name of an object is escaped where it would move the cursor."""
    confidence = "" if "confidence" not in row else f"{row['confidence']:.4f}"
    said = row.get("reason") or row["status"]
    name = "".join(character if character.isprintable() else repr(character)[1:-1] for character in row["object"])
    version = "" if row["version"] == "null" else f"  {row['version']}"
    return f"{row['classified_at']}  {said:<16}{confidence:>6}  {name}{version}"


if __name__ == "__main__":
    sys.exit(main())
