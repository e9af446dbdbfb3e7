"""The handler on moto: real S3 objects, the template's key schema, real decoding, a real network."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from classify import app, tags_ahead
from classify.labelling import Labeller
from tests.support import record, table_definition, write_model

BUCKET, TABLE = "uploads", "results"


@pytest.fixture(autouse=True)
def _no_sockets(no_sockets: None) -> None:
    """Every test of this folder."""


@dataclass
class LambdaContext:
    function_name: str = "classify"
    memory_limit_in_mb: int = 3008
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:classify"
    aws_request_id: str = "b7c5d1f0-0000-4000-8000-000000000000"
    remaining_ms: int = 60_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


class Service:
    """The function as deployed, and the bucket and table beside it."""

    def __init__(self) -> None:
        self.s3 = boto3.client("s3")
        self.table = boto3.resource("dynamodb").Table(TABLE)
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        boto3.client("dynamodb").create_table(TableName=TABLE, **table_definition())
        self._listen()

    def upload(self, key: str, data: bytes, tags: str = "") -> dict[str, Any]:
        """Put an object and return the record S3 would send. `tags` as in a URL: "a=b&c=d"."""
        answer = self.s3.put_object(Bucket=BUCKET, Key=key, Body=data, Tagging=tags)
        return record(key, version_id=answer.get("VersionId"))

    def _listen(self) -> None:
        """A queue behind the default event bus, so that tests see what is published."""
        sqs, events = boto3.client("sqs"), boto3.client("events")
        self.results = boto3.resource("sqs").Queue(sqs.create_queue(QueueName="results")["QueueUrl"])
        events.put_rule(Name="all", EventPattern=json.dumps({"source": ["image-labeller"]}))
        events.put_targets(Rule="all", Targets=[{"Id": "results", "Arn": self.results.attributes["QueueArn"]}])

    def published(self) -> list[dict[str, Any]]:
        """The events published since the last call."""
        events = []
        while messages := self.results.receive_messages(MaxNumberOfMessages=10):
            for message in messages:
                events.append(json.loads(message.body))
                message.delete()
        return events

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        return app.lambda_handler(event, LambdaContext())  # type: ignore[arg-type]

    def labeller(self) -> Labeller:
        """What the function works with."""
        return app.get_labeller()

    def tags(self, key: str, **version: str) -> dict[str, str]:
        tag_set = self.s3.get_object_tagging(Bucket=BUCKET, Key=key, **version)["TagSet"]
        return {tag["Key"]: tag["Value"] for tag in tag_set}

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows by key; where an object has several versions, by key@version."""
        items = self.table.scan()["Items"]
        return {i["key"] if i["version"] == "null" else f"{i['key']}@{i['version']}": i for i in items}


@pytest.fixture
def service(moto: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("RESULTS_TABLE", TABLE)
    monkeypatch.setenv("MODEL_DIR", str(write_model(tmp_path / "model")))
    monkeypatch.setenv("MAX_IMAGE_BYTES", "200000")
    monkeypatch.setenv("MAX_IMAGE_PIXELS", "1000000")
    monkeypatch.setattr(tags_ahead, "_LONGEST_WAIT", 60.0)  # on a busy machine, too, tags are read once
    app.get_labeller.cache_clear()
    yield Service()
    app.get_labeller.cache_clear()
    gc.unfreeze()  # what the function keeps for good


@pytest.fixture
def calls(service: Service) -> list[str]:
    """The names of the function's calls to AWS from here on, in order; botocore's own retries are not counted."""
    made: list[str] = []
    storage = app.get_labeller().storage
    for client in (storage._s3, storage._dynamodb, storage._events):
        client.meta.events.register("before-call", lambda model, **_: made.append(model.name))
    return made


@contextmanager
def writing(patch: pytest.MonkeyPatch, write: str) -> Iterator[None]:
    """The function of a stack whose parameter Write is `write`."""
    labeller = app.get_labeller()
    changed = replace(labeller, settings=replace(labeller.settings, write=frozenset(write.split(","))))
    with patch.context() as context:
        context.setattr(app, "get_labeller", lambda: changed)
        yield
