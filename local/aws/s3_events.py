"""S3's events by way of EventBridge, as far as moto 5.2.5 lacks them.

It does not return the switch of a bucket, and its events have one sequencer for all, no deletion type and other names.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

import time
import uuid
from typing import Any

from moto.core.responses import ActionResult
from moto.events.models import events_backends
from moto.s3 import notifications
from moto.s3.responses import S3Response

_get_bucket_notification = S3Response.get_bucket_notification


def add_to_moto() -> None:
    """Give moto's S3 the events and the switch."""
    notifications._send_event_bridge_message = _send  # type: ignore[assignment]
    S3Response.get_bucket_notification = _get  # type: ignore[assignment]


def _send(_account: str, bucket: Any, event_name: str, key: Any) -> None:
    """Hand the event to the targets of every rule whose pattern matches it."""
    deleted = "Removed" in event_name or "Expiration" in event_name
    item = {"key": key.name, "etag": key.etag.strip('"'), "sequencer": f"{time.time_ns() // 1000:016X}"}
    if not deleted:
        item["size"] = key.size
    if bucket.is_versioned:
        item["version-id"] = key.version_id
    detail = {"version": "0", "bucket": {"name": bucket.name}, "object": item, "reason": "local"}
    if deleted:
        detail["deletion-type"] = "Permanently Deleted"
    event: Any = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": notifications._detail_type(event_name),
        "source": "aws.s3",
        "account": bucket.account_id,
        "time": time.time(),  # moto makes text of it
        "region": bucket.region_name,
        "resources": [bucket.arn],
        "detail": detail,
    }
    for rule in events_backends[bucket.account_id][bucket.region_name].event_buses["default"].rules.values():
        if rule.state == "ENABLED":
            rule.send_to_targets(event, transform_input=False)


def _get(response: S3Response) -> Any:
    """As moto's, with the switch."""
    configuration = response.backend.get_bucket_notification_configuration(response.bucket_name)
    if configuration is None or configuration.event_bridge is None:
        return _get_bucket_notification(response)
    serialized = response.serialized

    def with_switch(result: ActionResult) -> Any:
        return serialized(ActionResult({**(result.result or {}), "EventBridgeConfiguration": {}}))  # type: ignore[dict-item]

    response.serialized = with_switch  # type: ignore[assignment]
    return _get_bucket_notification(response)
