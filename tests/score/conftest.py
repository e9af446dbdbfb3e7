"""The score function on moto: real S3 objects, the template's table, real decoding, a real network."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from labeller.events import ObjectRef
from labeller.images import Decoded
from labeller.inference import labelled
from labeller.records import item_for
from labeller.results import Prediction, Tagging, Thresholds
from score import app
from tests.support import encoded, plain, table_definition, write_model

BUCKET, TABLE, TOPIC = "reports", "results", "reports-topic"
NIGHT = "2026-11-24"


@pytest.fixture(autouse=True)
def _no_sockets(no_sockets: None) -> None:
    """No test of this folder opens a socket."""


@dataclass
class LambdaContext:
    seconds: float = 900.0
    function_name: str = "score"
    memory_limit_in_mb: int = 3008
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:score"
    aws_request_id: str = "b7c5d1f0-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * self.seconds)


class Service:
    """The function as deployed, with its bucket, table, topic and bus."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.s3 = boto3.client("s3")
        self.table = boto3.resource("dynamodb").Table(TABLE)
        self.sqs = boto3.client("sqs")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        boto3.client("dynamodb").create_table(TableName=TABLE, **table_definition())
        topic = boto3.client("sns").create_topic(Name=TOPIC)["TopicArn"]
        self._mails = self._queue("mails")
        boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=self._arn(self._mails))
        self._announced = self._queue("announced")
        events = boto3.client("events")
        events.put_rule(Name="all", EventPattern=json.dumps({"source": ["image-labeller"]}))
        events.put_targets(Rule="all", Targets=[{"Id": "queue", "Arn": self._arn(self._announced)}])

    def add(self, name: str, data: bytes) -> None:
        """Put a picture into the test set. `name` is label/name."""
        self.s3.put_object(Bucket=BUCKET, Key=f"testset/{name}", Body=data)

    def add_pictures(self, red: int = 3, blue: int = 2) -> None:
        """A test set that the colour network gets right; all pictures differ."""
        for number in range(red):
            self.add(f"red/{number}.png", encoded(plain((255, number, 0))))
        for number in range(blue):
            self.add(f"blue/{number}.png", encoded(plain((number, 0, 255))))

    def upload(self, key: str, label: str, confidence: float, classified_at: str, threshold: float = 0.9) -> None:
        """Write a row as classify does."""
        scores = {"red": confidence if label == "red" else 1 - confidence}
        result = labelled(
            Prediction(label, confidence, scores),
            Decoded(None, 1, 1, "PNG"),  # type: ignore[arg-type]
            "m",
            Thresholds(threshold, None),
        )
        self.put_row(key, result, classified_at)

    def put_row(self, key: str, result: Any, classified_at: str) -> None:
        from datetime import datetime

        ref = ObjectRef("uploads", key, None, "01")
        when = datetime.fromisoformat(classified_at)
        row = item_for(ref, result, Tagging.WRITTEN, etag="e", size=1, classified_at=when, ttl_days=0)
        self.table.put_item(Item=row)

    def invoke(self, night: str = NIGHT, seconds: float = 900.0, **changes: Any) -> dict[str, Any]:
        event = {"scheduled_time": f"{night}T03:00:00Z", **changes}
        return app.lambda_handler(event, LambdaContext(seconds))  # type: ignore[arg-type]

    def read(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=f"accuracy/{key}")["Body"].read()

    def report(self, night: str = NIGHT) -> dict[str, Any]:
        return json.loads(self.read(f"{night}/report.json"))

    def predictions(self, night: str = NIGHT) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.read(f"{night}/predictions.csv").decode("utf-8-sig"), newline="")))

    def objects(self, prefix: str = "accuracy/") -> dict[str, bytes]:
        """All objects of the reports, by key."""
        keys = [item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]
        return {key: self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def announced(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self._received(self._announced)]

    def mails(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self._received(self._mails)]

    def _queue(self, name: str) -> str:
        return str(self.sqs.create_queue(QueueName=name)["QueueUrl"])

    def _arn(self, url: str) -> str:
        return str(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])

    def _received(self, url: str) -> list[str]:
        messages = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in messages]


@pytest.fixture
def service(moto: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    model = write_model(tmp_path / "model", build={"accuracy": {"test": {"int8": {"images": 100, "correct": 98}}}})
    for name, value in {
        "RESULTS_TABLE": TABLE,
        "MODEL_DIR": str(model),
        "MAX_IMAGE_BYTES": "200000",
        "MAX_IMAGE_PIXELS": "1000000",
        "REPORTS_BUCKET": BUCKET,
        "REPORT_TOPIC": f"arn:aws:sns:eu-central-1:123456789012:{TOPIC}",
        "MINIMUM_ACCURACY": "0.9",
    }.items():
        monkeypatch.setenv(name, value)
    app.get_job.cache_clear()
    yield Service(model)
    app.get_job.cache_clear()
