"""`python -m ops.labels` on the table that template.yaml makes, filled with rows that the function writes."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from evaluation.storage import rows_of_day
from labeller.events import Change, ObjectRef
from labeller.images import Reason, Unreadable
from labeller.inference import unreadable
from labeller.records import deleted_item, item_for
from labeller.results import Tagging
from local.aws.moto import LocalAws
from local.aws.stack import Stack
from ops import labels
from ops.labels import main
from ops.stack import describe_stack

pytestmark = pytest.mark.midnight

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def write(aws: LocalAws, stack: Stack, item: dict[str, Any]) -> None:
    serialise = TypeSerializer().serialize
    stored = {name: serialise(value) for name, value in item.items()}
    aws.client("dynamodb").put_item(TableName=stack.results_table, Item=stored)


def ref(key: str, version: str | None = None) -> ObjectRef:
    return ObjectRef("pictures", key, version, "01", change=Change.DELETED)


@pytest.fixture(scope="module")
def filled(aws: LocalAws, stack: Stack) -> Stack:
    """100 deleted objects, a minute between them, and one that is unreadable; another on the day after."""
    for number in range(100):
        # 7 and 100 have no factor in common: the order of the keys is not the order of the times.
        at = NOON + timedelta(minutes=number * 7 % 100)
        write(aws, stack, deleted_item(ref(f"{number}.jpg"), deleted_at=at, ttl_days=0))
    write(aws, stack, deleted_item(ref("later.jpg"), deleted_at=NOON + timedelta(days=1), ttl_days=0))
    result = unreadable(Unreadable(Reason.EMPTY, "no bytes"), "m")
    item = item_for(
        ref("\x1b[2Jé.jpg", "v1"), result, Tagging.WRITTEN, etag="e", size=0, classified_at=NOON, ttl_days=0
    )
    write(aws, stack, item)
    return stack


def test_all_rows_of_the_day_come_in_the_order_of_writing(aws: LocalAws, filled: Stack) -> None:
    rows = list(rows_of_day(aws.client("dynamodb"), filled.results_table, "DELETED", date(2026, 11, 23)))

    assert [row["key"] for row in rows] == [f"{minute * 43 % 100}.jpg" for minute in range(100)]  # 7 x 43 = 301


def test_all_pages_are_read_but_only_as_needed(aws: LocalAws, filled: Stack) -> None:
    dynamodb = aws.client("dynamodb")
    asked: list[int] = []

    def small_pages(params: dict[str, Any], **_: Any) -> None:
        params["Limit"] = 2
        asked.append(1)

    dynamodb.meta.events.register("provide-client-params.dynamodb.Query", small_pages)
    rows = rows_of_day(dynamodb, filled.results_table, "DELETED", date(2026, 11, 23))

    assert len(list(itertools.islice(rows, 3))) == 3
    few = len(asked)
    assert len(list(rows)) == 97
    assert few <= 11 < 50 <= len(asked)  # 8 shards; 100 rows at 2 a page


def test_the_command_prints_a_line_for_each_row(
    aws: LocalAws, filled: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--label", "UNREADABLE", "--day", "2026-11-23", "--stack", filled.name]) == 0

    # The name's escape sequence must not reach the terminal.
    line = "2026-11-23T12:00:00.000+00:00  EMPTY                   pictures/\\x1b[2Jé.jpg  v1\n"
    assert capsys.readouterr().out == line


def test_the_command_prints_json_and_stops_at_the_limit(
    aws: LocalAws, filled: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--table", filled.results_table, "--limit", "2", "--json"]
    assert main(["--label", "DELETED", "--day", "2026-11-23", *options]) == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["key"], row["status"]) for row in rows] == [("0.jpg", "DELETED"), ("43.jpg", "DELETED")]


def test_a_day_without_rows_is_reported(aws: LocalAws, filled: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--label", "cats", "--day", "2020-01-01", "--table", filled.results_table]) == 0

    output = capsys.readouterr()
    assert output.out == ""
    assert "no object is labelled 'cats' on 2020-01-01" in output.err


@pytest.mark.parametrize("where", [["--stack", "nowhere"], ["--table", "nothing"]])
def test_a_missing_stack_or_table_is_an_error(
    aws: LocalAws, capsys: pytest.CaptureFixture[str], where: list[str]
) -> None:
    assert main(["--label", "cats", *where]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("wrong", [["--day", "yesterday"], ["--limit", "0"], ["--stack", "a", "--table", "b"]])
def test_wrong_arguments_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--label", "cats", *wrong])
    assert caught.value.code == 2


def test_where_no_rows_are_written_the_empty_list_says_so(
    filled: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    described = replace(describe_stack(filled.name), parameters={"Write": "tags,event"})
    monkeypatch.setattr(labels, "describe_stack", lambda _: described)
    assert main(["--label", "cats", "--day", "2020-01-01", "--stack", filled.name]) == 0
    assert f"{filled.name} writes no rows (parameter Write)" in capsys.readouterr().err
