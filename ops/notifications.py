"""A bucket's notification configuration, changed without touching what others have set.

S3 has one configuration for a bucket and replaces it as a whole, without a condition. So it is read, merged, read again
just before it is written, and read back afterwards. Somebody else's change between these steps is an error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.cli import CommandError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Configuration = dict[str, Any]
"""As GetBucketNotificationConfiguration has it, without the response's metadata."""

EVENT_BRIDGE = "EventBridgeConfiguration"
QUEUES = "QueueConfigurations"
_DESTINATIONS = {
    QUEUES: "QueueArn",
    "TopicConfigurations": "TopicArn",
    "LambdaFunctionConfigurations": "LambdaFunctionArn",
}
# "Bucket configurations have an eventual consistency model": S3 user guide, "Amazon S3 data consistency model".
_READS_BACK, _PAUSE = 15, 1.0  # and seconds between two


@dataclass(frozen=True, slots=True)
class BucketNotifications:
    """The configuration of a bucket that must belong to `account`."""

    s3: S3Client
    bucket: str
    account: str
    sleep: Callable[[float], None] = time.sleep

    def read(self) -> Configuration:
        """The configuration as it is."""
        answer: Mapping[str, Any] = self.s3.get_bucket_notification_configuration(
            Bucket=self.bucket, ExpectedBucketOwner=self.account
        )
        return {name: value for name, value in answer.items() if name != "ResponseMetadata" and value != []}

    def replace(self, before: Configuration, after: Configuration) -> None:
        """Write `after` in place of `before`. Raises CommandError if it is not `before`, or does not become `after`."""
        if canonical(self.read()) != canonical(before):
            raise CommandError(
                f"the notifications of {self.bucket} were changed meanwhile; nothing was written. Run again"
            )
        # Unchecked: to check the destinations, S3 would send each a test message, and refuse all if one is broken.
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket,
            NotificationConfiguration=after,  # type: ignore[arg-type]
            ExpectedBucketOwner=self.account,
            SkipDestinationValidation=True,
        )
        for _ in range(_READS_BACK):
            found = canonical(self.read())
            if found == canonical(after):
                return
            if found != canonical(before):
                raise CommandError(
                    f"somebody else changed the notifications of {self.bucket} at the same time. They are now {found}; "
                    f"this command wrote {canonical(after)}. Compare them before you run it again"
                )
            self.sleep(_PAUSE)
        raise CommandError(f"S3 still returns the earlier notifications of {self.bucket}. Run again in a minute")


def canonical(configuration: Configuration) -> str:
    """A text that is equal for equal configurations: S3 reorders lists, and writes Prefix for prefix."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            name = {"Name": value["Name"].lower()} if "Name" in value else {}
            return {key: plain(member) for key, member in value.items()} | name
        if isinstance(value, list):
            return sorted(map(plain, value), key=lambda member: json.dumps(member, sort_keys=True))
        return value

    return json.dumps(plain(configuration), sort_keys=True)


def with_queue(
    configuration: Configuration, name: str, queue: str, events: Sequence[str], prefix: str
) -> Configuration:
    """The configuration with one more notification. Raises CommandError if S3 would refuse it beside another."""
    for kind, destination in _DESTINATIONS.items():
        for other in configuration.get(kind, []):
            rules = {
                rule["Name"].lower(): rule["Value"]
                for rule in other.get("Filter", {}).get("Key", {}).get("FilterRules", [])
            }
            theirs = rules.get("prefix", "")
            common = [event for event in other["Events"] if any(_overlap(event, ours) for ours in events)]
            if common and (prefix.startswith(theirs) or theirs.startswith(prefix)):
                raise CommandError(
                    f"S3 sends an event to one destination only. The notification {other.get('Id', '')!r} sends "
                    f"{' and '.join(common)} of keys that begin with {theirs!r} to {other[destination]}; this stack's "
                    f"would be for keys that begin with {prefix!r}. All can share EventBridge: leave DIRECT out"
                )
    added: Configuration = {"Id": name, "QueueArn": queue, "Events": list(events)}
    if prefix:
        added["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
    return {**configuration, QUEUES: [*configuration.get(QUEUES, []), added]}


def without_queue(configuration: Configuration, name: str) -> Configuration:
    """The configuration without the notification `name` to a queue."""
    queues = [other for other in configuration.get(QUEUES, []) if other.get("Id") != name]
    rest = {key: value for key, value in configuration.items() if key != QUEUES}
    return rest | ({QUEUES: queues} if queues else {})


def _overlap(event: str, other: str) -> bool:
    """Whether both names include an event: s3:ObjectCreated:* includes s3:ObjectCreated:Put."""
    one, two = event.removesuffix("*"), other.removesuffix("*")
    return one.startswith(two) or two.startswith(one)
