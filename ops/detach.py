"""Take back what `make attach` did to a bucket: `make detach BUCKET=name [STACK=...]`.

Turns off the bucket's events for EventBridge only if `make attach` turned them on for this stack, and nobody else uses
them; removes the stack's own notification. Everything else in the bucket stays as it is now.

Exit status: 0 detached, or nothing to take back; 1 refused or failed; 2 wrong arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import boto3

from ops.attach import NOTIFICATION, SWITCH, Attachment
from ops.cli import CommandError, add_stack_argument, command_parser, exit_status
from ops.notifications import EVENT_BRIDGE, without_queue
from ops.stack import describe_stack


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.detach", __doc__)
    parser.add_argument("bucket", metavar="BUCKET", help="the bucket's name")
    add_stack_argument(parser)
    options = parser.parse_args(arguments)
    return exit_status(lambda: detach(Attachment(boto3.client("s3"), describe_stack(options.stack), options.bucket)))


def detach(attachment: Attachment) -> int:
    """Take back what is recorded, and remove the record; returns the exit status."""
    bucket, stack, did = attachment.bucket, attachment.stack.name, attachment.recorded()
    if did is None:
        raise CommandError(f"`make attach` did nothing to {bucket} for {stack}: there is nothing to take back")
    before = attachment.notifications.read()
    after, done = before, f"{bucket} had its events for EventBridge on before {stack} was attached. They stay on."
    if did == SWITCH:
        users = list(others_rules(f"{stack}-uploads", bucket))
        if users:
            done = f"The events of {bucket} for EventBridge stay on: the rules {', '.join(users)} use them, too."
        else:
            after = {name: value for name, value in before.items() if name != EVENT_BRIDGE}
            done = f"{bucket} does not send its events to EventBridge any more."
    elif did == NOTIFICATION:
        after = without_queue(before, attachment.name)
        done = f"{bucket} does not notify the queue of {stack} any more."
    if after != before:
        attachment.notifications.replace(before, after)
    attachment.forget()
    print(f"{done} Its other notifications are as they were.")
    if EVENT_BRIDGE in after:
        print(f"Its uploads are labelled until {stack} is deployed without it in Buckets.")
    return 0


def others_rules(own: str, bucket: str) -> Iterator[str]:
    """Names of the rules, besides `own`, that may take S3's events of the bucket."""
    for page in boto3.client("events").get_paginator("list_rules").paginate():
        for rule in page["Rules"]:
            pattern: dict[str, Any] = json.loads(rule.get("EventPattern") or '{"source": []}')
            takes_s3 = _includes(pattern.get("source", ["aws.s3"]), "aws.s3")
            takes_bucket = _includes(pattern.get("detail", {}).get("bucket", {}).get("name", [bucket]), bucket)
            if rule["Name"] != own and takes_s3 and takes_bucket:
                yield rule["Name"]


def _includes(matchers: list[Any], value: str) -> bool:
    """Whether one may match the value; any that is not plain text may."""
    return any(matcher == value or not isinstance(matcher, str) for matcher in matchers)


if __name__ == "__main__":
    sys.exit(main())
