"""`make backfill ENGINE=local` on the stack that is deployed here, with the network of mean colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from labeller.aws_errors import AwsFailure
from labeller.events import ObjectRef
from labeller.storage import Storage
from local.aws.moto import LocalAws, process_environment
from local.aws.stack import Stack
from ops import backfill, local_backfill
from ops.cli import Console
from ops.local_backfill import label_objects
from tests.support import BLUE, RED, encoded, plain, write_model


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of the stack finds it without objects and rows."""
    yield
    if "stack" in request.fixturenames:
        aws, stack = request.getfixturevalue("aws"), request.getfixturevalue("stack")
        s3, dynamodb = aws.client("s3"), aws.client("dynamodb")
        for entry in s3.list_objects_v2(Bucket=stack.uploads_bucket).get("Contents", []):
            s3.delete_object(Bucket=stack.uploads_bucket, Key=entry["Key"])
        for item in dynamodb.scan(TableName=stack.results_table)["Items"]:
            key = {name: item[name] for name in ("object", "version")}
            dynamodb.delete_item(TableName=stack.results_table, Key=key)


@pytest.fixture
def command(aws: LocalAws, stack: Stack, tmp_path: Path) -> Iterator[Callable[..., int]]:
    from classify import app

    def run(*arguments: str, version: str = "colour-1") -> int:
        app.get_labeller.cache_clear()
        model = write_model(tmp_path / version, model_version=version)
        with process_environment(stack.function.local_environment(model)):
            return backfill.main(["--engine", "local", "--yes", "--log", str(tmp_path / "log"), *arguments])

    yield run
    app.get_labeller.cache_clear()


def rows(aws: LocalAws, stack: Stack) -> dict[str, dict[str, str]]:
    items = aws.client("dynamodb").scan(TableName=stack.results_table)["Items"]
    return {item["key"]["S"]: {name: next(iter(value.values())) for name, value in item.items()} for item in items}


def test_a_full_bucket_is_labelled_and_later_moved_to_a_new_model(
    aws: LocalAws, stack: Stack, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    s3 = aws.client("s3")
    pictures = {"2025/a+b %2B.png": RED, "2025/ねこ.png": BLUE, "2026/c.png": RED}
    for key, colour in pictures.items():
        s3.put_object(Bucket=stack.uploads_bucket, Key=key, Body=encoded(plain(colour)))
    s3.put_object(Bucket=stack.uploads_bucket, Key="2025/", Body=b"")
    bucket = ["--bucket", stack.uploads_bucket]

    assert command(*bucket, "--prefix", "2025/") == 0
    labels = {key: row["label"] for key, row in rows(aws, stack).items()}
    assert labels == {"2025/a+b %2B.png": "red", "2025/ねこ.png": "blue"}
    assert "2 of 2 done (2 LABELLED), 0 failed" in capsys.readouterr().out

    assert command(*bucket) == 0  # all of the bucket: two are current
    assert "3 of 3 done (2 CURRENT, 1 LABELLED), 0 failed" in capsys.readouterr().out

    assert command(*bucket, "--all") == 0
    assert "3 of 3 done (3 LABELLED), 0 failed" in capsys.readouterr().out

    assert command(*bucket, version="colour-2") == 0
    assert {row["model"] for row in rows(aws, stack).values()} == {"colour-2"}
    tags = s3.get_object_tagging(Bucket=stack.uploads_bucket, Key="2026/c.png")["TagSet"]
    assert {"Key": "image-label-model", "Value": "colour-2"} in tags


def test_a_manifest_names_the_objects(
    aws: LocalAws, stack: Stack, command: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for key in ("listed/a b.png", "listed/c.png"):
        aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key=key, Body=encoded(plain(RED)))
    manifest = tmp_path / "keys.csv"
    manifest.write_text(f"{stack.uploads_bucket},listed/a+b.png\n{stack.uploads_bucket},listed/\n")  # and a folder

    assert command("--manifest", str(manifest)) == 0

    assert "1 of 1 done (1 LABELLED), 0 failed" in capsys.readouterr().out
    assert "listed/a b.png" in rows(aws, stack)
    assert "listed/c.png" not in rows(aws, stack)


def test_failures_are_printed_with_their_reasons_as_printable_text_and_make_the_command_fail(
    aws: LocalAws,
    stack: Stack,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail(_: Storage, ref: ObjectRef, *__: object) -> None:
        raise AwsFailure(f"PutItem for {ref.path}: throttled")

    monkeypatch.setattr(Storage, "replace_row", fail)
    monkeypatch.setattr("ops.local_backfill.time.sleep", lambda _: None)
    key, shown = "failing/\x1b[31m\u202egnp.png", r"failing/\x1b[31m\u202egnp.png"
    aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key=key, Body=encoded(plain(RED)))

    assert command("--bucket", stack.uploads_bucket, "--prefix", "failing/") == 1

    printed, path = capsys.readouterr().out, f"{stack.uploads_bucket}/{shown}"
    assert "0 of 1 done (none), 1 failed" in printed
    assert "Run this again" in printed
    for text in (printed, (tmp_path / "log").read_text()):
        assert f"{path}: PutItem for {path}: throttled" in text
        assert all(line.isprintable() for line in text.splitlines())


# ---- the loop ---------------------------------------------------------------------------------------------


class Store:
    """Objects 0.jpg, 1.jpg, ...; `failing` gives the number of attempts that fail, by the object's number."""

    def __init__(self, size: int, failing: dict[int, int]) -> None:
        self.objects = [ObjectRef("pictures", f"{number}.jpg") for number in range(size)]
        self.left = Counter({f"{number}.jpg": attempts for number, attempts in failing.items()})
        self.batches: list[list[str]] = []
        self.pauses: list[float] = []

    def label(self, batch: Sequence[ObjectRef]) -> list[str | Exception]:
        self.batches.append([ref.key for ref in batch])
        return [self._result(ref.key) for ref in batch]

    def _result(self, key: str) -> str | Exception:
        self.left[key] -= 1
        return AwsFailure(f"no {key}") if self.left[key] >= 0 else "LABELLED"

    def run(self) -> tuple[Counter[str], list[str]]:
        results, failures = label_objects(self.objects, self.label, Console(), self.pauses.append)
        return results, [f"{ref.key}: {error}" for ref, error in failures]


def test_no_more_than_ten_objects_are_labelled_at_once() -> None:
    store = Store(24, {})
    assert store.run() == (Counter(LABELLED=24), [])
    assert [len(batch) for batch in store.batches] == [10, 10, 4]


def test_an_object_that_fails_is_tried_three_times_after_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(12, {1: 9, 11: 1})

    assert store.run() == (Counter(LABELLED=11), ["1.jpg: no 1.jpg"])

    assert store.batches[2:] == [["1.jpg", "11.jpg"], ["1.jpg"]]
    assert store.pauses == [2.0, 4.0]
    assert capsys.readouterr().out.splitlines() == [
        "9 of 12 done (75.0%), 1 failed",
        "10 of 12 done (83.3%), 2 failed",
        "11 of 12 done (91.7%), 1 failed",
    ]


# ---- arguments --------------------------------------------------------------------------------------------


def test_a_bucket_or_a_manifest_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill.main(["--engine", "local"]) == 1
    assert "BUCKET=" in capsys.readouterr().err


def test_a_manifest_in_s3_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill.main(["--engine", "local", "--manifest", "s3://lists/keys.csv"]) == 1
    assert "download it" in capsys.readouterr().err


def test_a_missing_model_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("RESULTS_TABLE", "t")
    with process_environment({}):
        assert backfill.main(["--engine", "local", "--bucket", "b", "--log", str(tmp_path / "log")]) == 1
    assert "none/manifest.json is missing" in capsys.readouterr().err


def test_a_user_who_declines_has_nothing_labelled(
    aws: LocalAws, stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from classify import app

    app.get_labeller.cache_clear()
    aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key="no/a.png", Body=encoded(plain(RED)))
    monkeypatch.setattr(local_backfill, "label_batch", lambda *_: pytest.fail("labelled"))
    arguments = ["--engine", "local", "--bucket", stack.uploads_bucket, "--log", str(tmp_path / "log")]
    with process_environment(stack.function.local_environment(write_model(tmp_path / "model"))):
        assert local_backfill.run(backfill.parse(arguments), Console(ask=lambda _: "")) == 0
    app.get_labeller.cache_clear()
    assert "Nothing was labelled." in capsys.readouterr().out
