"""The built function as Lambda runs it: the output of `sam build` with its layers, on Python 3.13, with AWS's runtime
client and emulator, against the local AWS. No Docker, no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labeller.manifest import MANIFEST_FILE, Manifest
from layers import bytecode
from layers.__main__ import OUT
from layers.packing import fill_model
from local.aws.moto import LocalAws, local_aws
from local.aws.results import ObjectResult, read_result
from local.aws.stack import Stack, deploy, function_of
from local.runtime.emulator import RuntimeEmulator
from local.runtime.invoke import built_function, objects_named, prepare, put_missing, with_bucket
from local.runtime.sam_build import SamBuild, read_build
from local.score import SCORE_FUNCTION, draw_testset
from ops.testset import BUCKET_OUTPUT
from tests import needs
from tests.support import ROOT

pytestmark = pytest.mark.slow

SAM = ROOT / ".venv-sam" / "bin" / "sam"


@pytest.fixture(scope="module")
def prepared(python: Path, built: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SamBuild, Path]:
    """`make layer build` in a copy of the project, with the small model, so that nobody's build is touched."""
    if not (OUT / "libraries").is_dir():
        needs.skip("the built function", "`make test` fills the libraries layer")
    project = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "template.yaml", project)
    shutil.copytree(ROOT / "functions", project / "functions")
    layers = project / "build" / "layers"
    shutil.copytree(OUT / "libraries", layers / "libraries", copy_function=os.link)
    fill_model(layers, built)
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0"}
    done = subprocess.run([SAM, "build"], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert bytecode.main([str(folder) for folder in (project / ".aws-sam" / "build").glob("*Function")]) == 0
    return prepare(project / ".aws-sam" / "build")


@pytest.fixture(scope="module")
def running(prepared: tuple[SamBuild, Path]) -> Iterator[tuple[LocalAws, Stack, RuntimeEmulator]]:
    function, python = prepared
    with local_aws() as aws:
        stack = deploy(aws, function.template)
        with built_function(aws.environment, stack.function, function, python) as runtime:
            yield aws, stack, runtime


Invoke = Callable[[str], tuple[Any, list[ObjectResult]]]


@pytest.fixture
def invoke(running: tuple[LocalAws, Stack, RuntimeEmulator], request: pytest.FixtureRequest) -> Invoke:
    """A function that gives the response to a sample event, and the result of each object that it names.

    The objects are in a folder of the test's own: nothing that another test did is taken for an effect.
    """
    aws, stack, runtime = running
    folder = re.sub(r"\W+", "-", request.node.name)
    key = re.compile(r'("(?:s3Key|key)\\*": *\\*")')  # in the event, or in a message that it quotes

    def call(name: str) -> tuple[Any, list[ObjectResult]]:
        event, keys = key.subn(rf"\g<1>{folder}/", (ROOT / "events" / name).read_text("utf-8"))
        event = with_bucket(json.loads(event), stack.uploads_bucket)
        references = objects_named(event)
        assert [ref.key.partition("/")[0] for ref in references] == [folder] * keys
        put_missing(aws, references)
        response, report = runtime.invoke(event)
        assert report.error is None
        return response, [
            read_result(aws, stack.results_table, ref.bucket, ref.key, ref.version_id) for ref in references
        ]

    return call


def test_the_build_holds_the_handlers_code_and_nothing_else(prepared: tuple[SamBuild, Path]) -> None:
    folder = prepared[0].task_root
    assert sorted(path.name for path in folder.iterdir()) == ["classify", "labeller"]
    files = [path for path in folder.rglob("*") if path.is_file()]
    sources = {path for path in files if path.suffix == ".py"}
    # Without bytecode, a cold start would compile: each source has its own, and there is nothing else.
    compiled = {path.parent.parent / (path.name.partition(".")[0] + ".py") for path in files if path.suffix == ".pyc"}
    assert compiled == sources
    assert len(files) == 2 * len(sources)


DONE: dict[str, Any] = {"batchItemFailures": []}


@pytest.mark.parametrize(
    ("name", "answer", "objects"),
    [
        ("sqs-batch.json", DONE, 2),
        ("sqs-sns.json", DONE, 1),
        ("sqs-eventbridge.json", DONE, 1),
        ("s3-put.json", {"labelled": 1, "deleted": 0}, 1),
        ("sns-put.json", {"labelled": 1, "deleted": 0}, 1),
        ("eventbridge-created.json", {"labelled": 1, "deleted": 0}, 1),
    ],
)
def test_uploads_are_labelled_in_tags_and_rows_whoever_tells_of_them(
    invoke: Invoke, built: Path, name: str, answer: object, objects: int
) -> None:
    response, results = invoke(name)
    assert (response, len(results)) == (answer, objects)
    for result in results:
        assert_labelled(result, built)


def assert_labelled(result: ObjectResult, model: Path) -> None:
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    assert (result.row["object"], result.row["status"]) == (result.path, "LABELLED")
    assert result.row["label"] in manifest.labels
    assert result.row["model"] == result.tags["image-label-model"] == manifest.model_version
    assert result.tags["image-label"] == result.row["label"]


@pytest.mark.parametrize("schema", ["1.0", "2.0"])
def test_a_task_of_batch_operations_has_its_result(invoke: Invoke, built: Path, schema: str) -> None:
    response, (result,) = invoke(f"batch-operations-{schema}.json")
    assert [(task["resultCode"], task["resultString"]) for task in response["results"]] == [("Succeeded", "LABELLED")]
    assert_labelled(result, built)


def test_a_poisoned_message_fails_alone(invoke: Invoke, built: Path) -> None:
    response, (result,) = invoke("sqs-poison.json")
    assert len(response["batchItemFailures"]) == 1
    assert_labelled(result, built)


def test_s3s_test_event_is_dropped(invoke: Invoke) -> None:
    assert invoke("sqs-test-event.json") == (DONE, [])


@pytest.mark.parametrize(
    ("created", "deleted"),
    [("s3-put.json", "sqs-deleted.json"), ("eventbridge-created.json", "eventbridge-deleted.json")],
)
def test_deletions_mark_their_rows(invoke: Invoke, built: Path, created: str, deleted: str) -> None:
    assert_labelled(invoke(created)[1][0], built)
    _, results = invoke(deleted)
    assert {result.row["status"] for result in results} == {"DELETED"}
    # An event from before the deletion changes nothing, though there is an object of that name again.
    _, (late,) = invoke(created)
    assert (late.path, late.row["status"]) == (results[0].path, "DELETED")


def test_a_night_is_scored_and_reported(
    prepared: tuple[SamBuild, Path], running: tuple[LocalAws, Stack, RuntimeEmulator], built: Path
) -> None:
    aws, stack, _ = running
    score = read_build(prepared[0].template.parent, SCORE_FUNCTION)
    assert sorted(path.name for path in score.task_root.iterdir()) == ["evaluation", "labeller", "score"]
    bucket = stack.outputs[BUCKET_OUTPUT]
    draw_testset(aws, bucket, Manifest.from_file(built / MANIFEST_FILE).labels)
    event = json.loads((ROOT / "events/nightly.json").read_text("utf-8"))
    function = function_of(aws, stack, SCORE_FUNCTION)
    with built_function(aws.environment, function, score, prepared[1]) as runtime:
        response, report = runtime.invoke(event)
    assert report.error is None
    assert (response["date"], response["scored"], response["unscored"]) == ("2026-11-24", 8, 0)
    published = aws.client("s3").get_object(Bucket=bucket, Key=response["report"])["Body"].read().decode()
    assert f"<h1>{response['headline']}</h1>" in published
