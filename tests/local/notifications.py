"""Events for the tests of the emulator."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def notification(bucket: str, key: str) -> dict[str, Any]:
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "s3": {
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": key, "size": 1},
        },
    }
    return {"Records": [record]}


def batch(*notifications: dict[str, Any]) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventSource": "aws:sqs",
                "messageId": str(number),
                "body": (body := json.dumps(notification)),
                "md5OfBody": hashlib.md5(body.encode()).hexdigest(),
            }
            for number, notification in enumerate(notifications)
        ]
    }
