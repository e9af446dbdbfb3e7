"""Shared by several tests: the template, pictures, events, and a network whose answers are computed by hand."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image
from pillow_heif import register_heif_opener

from labeller.manifest import (
    EXEMPLARS_FILE,
    GLANCE_FILE,
    INPUT_NAME,
    MANIFEST_FILE,
    MODEL_FILE,
    OUTPUT_NAME,
    TILE,
    Glance,
    GoldenExample,
    Manifest,
    enlarge,
)
from labeller.results import Neighbour
from ops import ROOT as ROOT
from ops.template import TEMPLATE, read_template

RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (128, 128, 128)
YELLOW, GREEN = (255, 255, 0), (0, 255, 0)


# ---- template.yaml ----------------------------------------------------------------------------------------


@cache
def load_template() -> dict[str, Any]:
    """template.yaml as CloudFormation reads it. Cached: do not change the result."""
    return read_template(TEMPLATE)


def table_definition() -> dict[str, Any]:
    """Arguments for create_table, from template.yaml's key schema, so that tests and stack agree."""
    tables = [r for r in load_template()["Resources"].values() if r["Type"] == "AWS::DynamoDB::Table"]
    (table,) = tables
    names = ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "BillingMode")
    return {name: table["Properties"][name] for name in names if name in table["Properties"]}


# ---- pictures ---------------------------------------------------------------------------------------------


def plain(colour: tuple[int, int, int], width: int = 32, height: int = 24) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def photo_like(width: int = 160, height: int = 120, seed: int = 7) -> Image.Image:
    """Smooth colours and noise, so that compressed files are long enough to be damaged."""
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=-1)
    noise = np.random.default_rng(seed).integers(-20, 20, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    if format_name == "HEIF":
        register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def exif_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


# ---- events -----------------------------------------------------------------------------------------------


def record(
    key: str,
    bucket: str = "uploads",
    sequencer: str = "0055AED6DCD90281E5",
    version_id: str | None = None,
    event_name: str = "ObjectCreated:Put",
) -> dict[str, Any]:
    """One record as S3 sends it (Amazon S3 user guide, "Event message structure"); `key` is the real key."""
    item: dict[str, Any] = {
        "key": quote_plus(key, safe="/"),
        "size": 1024,
        "eTag": "d41d8cd98f00b204e9800998ecf8427e",
        "sequencer": sequencer,
    }
    if version_id:
        item["versionId"] = version_id
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-11-24T08:00:00.000Z",
        "eventName": event_name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "uploads",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": item,
        },
    }


def notification(*records: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


TEST_EVENT = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-11-24T08:00:00.000Z",
    "Bucket": "uploads",
}


def sqs_batch(*bodies: object) -> dict[str, Any]:
    """An SQS event; the message ids are message-0, message-1, ... A text body is sent unchanged."""
    return {
        "Records": [
            {
                "messageId": f"message-{index}",
                "receiptHandle": "handle",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:uploads",
                "awsRegion": "eu-central-1",
            }
            for index, body in enumerate(bodies)
        ]
    }


def sns_envelope(content: object) -> dict[str, Any]:
    """A message as SNS puts it into a queue without raw delivery (SNS developer guide, "Fanout to SQS queues")."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:eu-central-1:123456789012:uploads",
        "Subject": "Amazon S3 Notification",
        "Message": json.dumps(content),
        "Timestamp": "2026-11-24T08:00:01.000Z",
    }


def sns_event(*contents: object) -> dict[str, Any]:
    """The event with which SNS invokes a function; the message ids are sns-0, sns-1, ..."""
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": "arn:aws:sns:eu-central-1:123456789012:uploads:1",
                "Sns": {**sns_envelope(content), "MessageId": f"sns-{index}"},
            }
            for index, content in enumerate(contents)
        ]
    }


def eventbridge_event(
    key: str,
    kind: str = "Object Created",
    version_id: str | None = None,
    deletion: str | None = None,
    sequencer: str | None = "0055AED6DCD90281E5",
) -> dict[str, Any]:
    """One event as S3 sends it to EventBridge (Amazon S3 user guide, "EventBridge event message structure")."""
    item = {"key": key, "size": 1024, "etag": "d41d8cd98f00b204e9800998ecf8427e"}
    item |= {"version-id": version_id} if version_id else {}
    item |= {"sequencer": sequencer} if sequencer else {}
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-11-24T08:00:00.000Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:s3:::uploads"],
        "detail": {
            "version": "0",
            "bucket": {"name": "uploads"},
            "object": item,
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.1",
            "reason": "DeleteObject" if kind == "Object Deleted" else "PutObject",
            **({"deletion-type": deletion} if deletion else {}),
        },
    }


def batch_job(*encoded_keys: str, schema: str = "1.0", version_id: str | None = None) -> dict[str, Any]:
    """The event of S3 Batch Operations; the task ids are task-0, task-1, ... (S3 itself sends one task each time)."""
    bucket = {"s3BucketArn": "arn:aws:s3:::uploads"} if schema == "1.0" else {"s3Bucket": "uploads"}
    return {
        "invocationSchemaVersion": schema,
        "invocationId": "invocation-1",
        "job": {"id": "f3cc4f60-61f6-4a2b-8a21-d07600c373ce"}
        | ({"userArguments": {"why": "a new model"}} if schema == "2.0" else {}),
        "tasks": [
            {"taskId": f"task-{index}", "s3Key": key, "s3VersionId": version_id, **bucket}
            for index, key in enumerate(encoded_keys)
        ],
    }


# ---- logs and metrics -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """The lines that a function logged."""

    lines: list[dict[str, Any]]

    @property
    def logs(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "level" in line]

    @property
    def metrics(self) -> dict[str, float]:
        """Sum of each count, without cold starts."""
        counts: dict[str, float] = {}
        for line in self.lines:
            for group in line.get("_aws", {}).get("CloudWatchMetrics", []):
                for metric in group["Metrics"]:
                    name = metric["Name"]
                    if name != "ColdStart" and metric["Unit"] == "Count":
                        counts[name] = counts.get(name, 0) + sum(line[name])
        return counts

    @property
    def units(self) -> dict[str, str]:
        """The unit of each metric."""
        groups = (group for line in self.lines for group in line.get("_aws", {}).get("CloudWatchMetrics", []))
        return {metric["Name"]: metric["Unit"] for group in groups for metric in group["Metrics"]}


# ---- threads ------------------------------------------------------------------------------------------------


class Crowd:
    """Runs functions for several threads, the first ones only when `expected` of them are inside at once."""

    def __init__(self, expected: int) -> None:
        self.most = self._inside = 0
        self._lock, self._together = threading.Lock(), threading.Barrier(expected)
        self._met = False

    def __call__(self, function: Any, /, *arguments: Any) -> Any:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        try:
            if not self._met:
                self._together.wait(10)  # BrokenBarrierError if they never meet
                self._met = True
            time.sleep(0.01)  # for one more thread to come in, if there is one
            return function(*arguments)
        finally:
            with self._lock:
                self._inside -= 1


# ---- network ----------------------------------------------------------------------------------------------


def colour_network(size: tuple[int, int], gain: float = 1 / 25.5, familiarity: bool = False) -> onnx.ModelProto:
    """Logits [red - blue, blue - red] x gain of the mean colour; with `familiarity` also 1 - green / 255.

    By hand, with the default gain: pure red has the logits (10, -10), so at temperature 1 the confidence
    1 / (1 + exp(-20)) = 0.999999998; any grey has (0, 0), so 0.5. Red and blue have the familiarity 1, green has 0,
    yellow the logits of red and the familiarity 0. The nearest pictures are always NEAREST.
    """
    weights: NDArray[np.float32] = np.array([[gain, -gain], [0, 0], [-gain, gain]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["features"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["features"], ["head/inputs"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["head/inputs", "head/weights"], ["logits"]),
        ],
        "mean colour",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *size, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [onnx.numpy_helper.from_array(weights, "head/weights")],
    )
    if familiarity:
        _add_familiarity(graph)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


EXEMPLARS = (("train/blue/sea.jpg", "blue"), ("train/red/rose.jpg", "red"), ("train/red/fire.jpg", "red"))
NEAREST = (Neighbour("train/red/fire.jpg", "red", 0.75), Neighbour("train/blue/sea.jpg", "blue", 0.5))
"""What the colour network names: rows 2 and 0 of EXEMPLARS, with exact similarities."""


def _add_familiarity(graph: onnx.GraphProto) -> None:
    """The outputs familiarity [N], nearest [N, 2] and similarity [N, 2]."""
    constants = {
        "green": np.array([0, -1 / 255, 0], np.float32),
        "one": np.array(1, np.float32),
        "nothing": np.zeros((3, 2), np.float32),
        "rows": np.array([2, 0], np.float32),
        "similarities": np.array([0.75, 0.5], np.float32),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("MatMul", ["head/inputs", "green"], ["strangeness"]),
            helper.make_node("Add", ["strangeness", "one"], ["familiarity"]),
            helper.make_node("MatMul", ["head/inputs", "nothing"], ["zeros"]),
            helper.make_node("Add", ["zeros", "rows"], ["float_rows"]),
            helper.make_node("Cast", ["float_rows"], ["nearest"], to=TensorProto.INT32),
            helper.make_node("Add", ["zeros", "similarities"], ["similarity"]),
        ]
    )
    graph.output.extend(
        [
            helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("nearest", TensorProto.INT32, ["N", 2]),
            helper.make_tensor_value_info("similarity", TensorProto.FLOAT, ["N", 2]),
        ]
    )


def write_familiar_model(directory: Path, threshold: float | None = 0.25, **changes: Any) -> Path:
    """The colour network with all outputs: below `threshold`, a picture is UNKNOWN."""
    rows = [{"path": path, "label": label} for path, label in EXEMPLARS]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / EXEMPLARS_FILE).write_text(json.dumps(rows), encoding="utf-8")
    network = colour_network((8, 8), familiarity=True)
    return write_model(directory, network, familiarity_threshold=threshold, **changes)


def write_glance_model(directory: Path, glance: dict[str, Any] | None = None) -> Path:
    """The colour network as glance network, beside a thorough one that takes red for blue.

    It answers with a confidence of at least 0.95 and a familiarity of at least 0.5; `glance` changes this.
    """
    write_familiar_model(directory)
    content = colour_network((8, 8), familiarity=True).SerializeToString()
    (directory / GLANCE_FILE).write_bytes(content)
    members = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "temperature": 2.0,
        "confidence": 0.95,
        "familiarity": 0.5,
        "golden": _golden(content, (8, 8), 2),
        **(glance or {}),
    }
    network = colour_network((8, 8), gain=-1 / 25.5, familiarity=True)
    return write_model(directory, network, familiarity_threshold=0.25, glance=Glance(**members))


def write_model(
    directory: Path,
    network: onnx.ModelProto | None = None,
    size: tuple[int, int] = (8, 8),
    **changes: Any,
) -> Path:
    """model.onnx and manifest.json of the colour network, or of `network`, in `directory`, which is returned.

    `changes` replace members of the manifest. The golden answer is computed here with the network itself.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = (network or colour_network(size)).SerializeToString()
    (directory / MODEL_FILE).write_bytes(content)
    members: dict[str, Any] = {
        "labels": ("red", "blue"),
        "input_size": size,
        "temperature": 1.0,
        "confidence_threshold": 0.9,
        "model_version": "colour-1",
        "model_sha256": hashlib.sha256(content).hexdigest(),
        **changes,
    }
    if "golden" not in members:
        members["golden"] = _golden(content, size, len(members["labels"]))
    (directory / MANIFEST_FILE).write_text(Manifest(**members).to_json(), encoding="utf-8")
    return directory


def _golden(content: bytes, size: tuple[int, int], labels: int) -> GoldenExample:
    """An orange tile and its logits; zeros for a broken network, which some tests load on purpose."""
    orange = np.full((TILE, TILE, 3), (220, 120, 20), np.uint8)
    logits = np.zeros(labels)
    with suppress(Exception):  # any error of onnxruntime's about a broken network
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (answer,) = session.run([OUTPUT_NAME], {INPUT_NAME: enlarge(orange[np.newaxis], size)})[0]
        if answer.shape == logits.shape and np.isfinite(answer).all():
            logits = answer
    return GoldenExample.of(orange, logits.tolist())
