"""Uploading a test set to a stack, on moto."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from model_build.data.dataset import scan
from model_build.data.inventory import write_inventory
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


def test_files_that_the_build_would_leave_out_are_left_out_and_named(s3: Any, folder: Path) -> None:
    os.mkfifo(folder / "cats/pipe")
    (folder / "cats/gone.png").symlink_to("/nowhere")
    name = os.fsencode(folder / "dogs") + b"/latin1-\xe9.png"
    os.symlink(folder / "cats/a.png", name)
    summary = upload(s3, BUCKET, folder)
    assert (summary.uploaded, summary.unchanged) == (3, 0)
    assert summary.left_out == {
        str(folder / "cats/pipe"): "not a file",
        str(folder / "cats/gone.png"): "a broken link",
        os.fsdecode(name): "its name is not UTF-8; rename it",
    }


def test_a_file_that_s3_refuses_is_named(s3: Any, folder: Path) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "KeyTooLongError", "Message": "Your key is too long"}}, "PutObject")

    s3.meta.events.register("before-call.s3.PutObject", refuse)
    with pytest.raises(UploadError, match=r"/cats/a\.png could not be uploaded: .*KeyTooLong"):
        upload(s3, BUCKET, folder)


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


# ---- the model's own test pictures ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set of 60 pictures, and what a build writes about it."""
    root, model = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("model")
    for number in range(30):
        for label, colour in (("cats", (200, number, 0)), ("dogs", (0, number, 200))):
            path = root / label / f"album/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(plain(colour)))
    write_inventory(model, scan(root))
    return root, model


def test_without_a_folder_the_builds_own_test_pictures_are_sent(s3: Any, built: tuple[Path, Path]) -> None:
    root, model = built
    upload(s3, BUCKET, None, model=model)

    sent = [key.removeprefix("testset/") for key in keys(s3)]
    of_test = [example.path.relative_to(root).as_posix() for example in scan(root).splits["test"]]
    assert sent == sorted(of_test)
    assert len(sent) >= 10


def test_a_picture_that_the_model_learned_from_is_refused_under_any_name(
    s3: Any, built: tuple[Path, Path], tmp_path: Path
) -> None:
    root, model = built
    data = scan(root)
    for split in ("train", "validation", "test"):
        content = data.splits[split][0].path.read_bytes()
        name = tmp_path / "mine/cats" / f"{split}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(content)

    learned = data.splits["train"][0].path.relative_to(root).as_posix()
    with pytest.raises(UploadError, match=rf"^2 of 3 pictures .* such as .*train\.png \({learned} of the build\)"):
        upload(s3, BUCKET, tmp_path / "mine", model=model)
    assert keys(s3) == []

    for split in ("train", "validation"):
        (tmp_path / "mine/cats" / f"{split}.png").unlink()
    assert upload(s3, BUCKET, tmp_path / "mine", model=model).uploaded == 1


@pytest.mark.parametrize("change", ["remove", "change"])
def test_test_pictures_that_are_no_longer_those_of_the_build_are_not_sent(
    s3: Any, built: tuple[Path, Path], tmp_path: Path, change: str
) -> None:
    root, model = tmp_path / "pictures", tmp_path / "model"
    shutil.copytree(built[0], root)
    model.mkdir()
    write_inventory(model, scan(root))
    first = scan(root).splits["test"][0].path
    first.unlink() if change == "remove" else first.write_bytes(b"other")

    message = "no longer there" if change == "remove" else "has changed since the build"
    with pytest.raises(UploadError, match=message):
        upload(s3, BUCKET, None, model=model)


def test_a_model_that_does_not_know_its_pictures_takes_any(s3: Any, folder: Path, tmp_path: Path) -> None:
    assert upload(s3, BUCKET, folder, model=tmp_path).uploaded == 3
    with pytest.raises(UploadError, match="does not say which pictures"):
        upload(s3, BUCKET, None, model=tmp_path)
    (tmp_path / "pictures.json").write_text("{")
    with pytest.raises(UploadError, match=r"pictures\.json is damaged"):
        upload(s3, BUCKET, folder, model=tmp_path)
