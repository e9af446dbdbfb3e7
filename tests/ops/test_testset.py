"""Uploading a test set to a stack, on moto."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from ops import testset
from ops.stack import StackDescription
from ops.testset import UploadError, upload
from tests.support import BLUE, RED, encoded, plain

BUCKET = "reports"


@pytest.fixture
def s3(moto: None) -> Any:
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in (("cats/a.png", RED), ("cats/more/b é.png", RED), ("dogs/c.png", BLUE)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(plain(colour)))
    return tmp_path


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_the_folders_become_labels(s3: Any, folder: Path) -> None:
    summary = upload(s3, BUCKET, folder)
    assert keys(s3) == ["testset/cats/a.png", "testset/cats/more/b é.png", "testset/dogs/c.png"]
    assert (summary.uploaded, summary.unchanged, summary.left_out, summary.others) == (3, 0, {}, ())
    assert s3.head_object(Bucket=BUCKET, Key="testset/dogs/c.png")["ContentType"] == "image/png"


def test_only_changed_files_are_sent_again(s3: Any, folder: Path) -> None:
    upload(s3, BUCKET, folder)
    (folder / "cats/a.png").write_bytes(encoded(plain(BLUE)))
    summary = upload(s3, BUCKET, folder)
    assert (summary.uploaded, summary.unchanged) == (1, 2)


def test_only_changed_files_are_sent_under_kms_whose_etags_are_no_digests(s3: Any, folder: Path) -> None:
    upload(s3, BUCKET, folder)
    stored = {
        key: {**entry, "ETag": '"0123456789abcdef-kms"'} for key, entry in testset._list_stored(s3, BUCKET).items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testset, "_list_stored", lambda *_: stored)
        assert upload(s3, BUCKET, folder).uploaded == 0


def test_nothing_is_deleted_without_delete(s3: Any, folder: Path) -> None:
    upload(s3, BUCKET, folder)
    (folder / "dogs/c.png").rename(folder / "dogs/d.png")
    summary = upload(s3, BUCKET, folder)
    assert (summary.uploaded, summary.others, summary.deleted) == (1, ("testset/dogs/c.png",), False)
    assert "testset/dogs/c.png" in keys(s3)
    assert upload(s3, BUCKET, folder, delete=True).deleted
    assert "testset/dogs/c.png" not in keys(s3)


def test_reports_are_left_alone(s3: Any, folder: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="accuracy/latest/index.html", Body=b"x")
    upload(s3, BUCKET, folder, delete=True)
    assert "accuracy/latest/index.html" in keys(s3)


def test_unreadable_files_are_left_out_and_named(s3: Any, folder: Path) -> None:
    (folder / "cats/notes.jpg").write_text("Milk")
    (folder / "cats/.DS_Store").write_text("")
    summary = upload(s3, BUCKET, folder)
    assert summary.uploaded == 3
    ((path, reason),) = summary.left_out.items()
    assert path.endswith("cats/notes.jpg")
    assert "NOT_AN_IMAGE" in reason


def test_hidden_files_and_folders_are_not_sent(s3: Any, folder: Path) -> None:
    for name in ("cats/.a.png", "cats/.thumbs/a.png", ".trash/b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encoded(plain(RED)))
    upload(s3, BUCKET, folder)
    assert keys(s3) == ["testset/cats/a.png", "testset/cats/more/b é.png", "testset/dogs/c.png"]


def test_a_label_is_sent_in_nfc_as_the_build_reads_it(s3: Any, tmp_path: Path) -> None:
    for name in ("cafe\u0301", "bar"):  # é as a Mac writes it
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(encoded(plain(RED)))
    upload(s3, BUCKET, tmp_path)
    assert keys(s3) == ["testset/bar/a.png", "testset/caf\u00e9/a.png"]
    (tmp_path / "caf\u00e9").mkdir()
    with pytest.raises(UploadError, match="two folders whose names read 'café'"):
        upload(s3, BUCKET, tmp_path)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ((), "no pictures in label folders"),
        (("train/cats", "validation/cats", "test/cats"), "is a whole data set, with test, train, validation; name"),
        (("UNSURE",), "cannot be labels"),
    ],
)
def test_a_folder_that_is_not_a_test_set_is_refused(s3: Any, tmp_path: Path, made: tuple[str, ...], words: str) -> None:
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UploadError, match=words):
        upload(s3, BUCKET, tmp_path)
    with pytest.raises(UploadError, match="there is no folder"):
        upload(s3, BUCKET, tmp_path / "nowhere")


def test_the_command_finds_the_bucket_by_the_stack(s3: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {"ReportsBucketName": {"Value": BUCKET}},
    }
    boto3.client("cloudformation").create_stack(StackName="pets", TemplateBody=json.dumps(template))
    assert testset.main([str(folder), "--stack", "pets"]) == 0
    assert "3 uploaded to s3://reports/testset/, 0 already there." in capsys.readouterr().out
    assert testset.main([str(folder), "--stack", "birds"]) == 1
    assert "the stack birds cannot be read" in capsys.readouterr().err
    (folder / "cats/notes.jpg").write_text("Milk")
    assert testset.main([str(folder), "--stack", "pets"]) == 3


def test_the_command_deletes_what_is_not_in_the_folder_only_if_told(
    s3: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = StackDescription("pets", {"ReportsBucketName": BUCKET}, {})
    monkeypatch.setattr(testset, "describe_stack", lambda _: stack)
    s3.put_object(Bucket=BUCKET, Key="testset/cats/old.jpg", Body=b"old")
    assert testset.main([str(folder)]) == 0
    assert "1 in the bucket are not in the folder and stay, such as testset/cats/old.jpg." in capsys.readouterr().out
    assert testset.main([str(folder), "--delete"]) == 0
    assert "1 that are not in the folder were deleted." in capsys.readouterr().out
    assert "testset/cats/old.jpg" not in [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
