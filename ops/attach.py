"""Have an existing bucket send its events to a stack: `make attach BUCKET=name [STACK=...] [DIRECT=1] [GATE=1]`.

The stack must be deployed with the bucket in its parameter Buckets. The command turns on the bucket's events for
EventBridge and leaves its other notifications as they are; the stack's rule chooses among the events. With DIRECT=1,
the bucket notifies the stack's queue itself. What was done is kept in the stack's bucket for reports, under attached/,
together with the notifications before; `make detach` takes it back.

With GATE=1 nothing is changed: it prints the statements of a bucket policy that deny reads of an object until it has a
label (docs/operations.md, "DenyUnlabelledReads").

Exit status: 0 attached, now or before; 1 refused or failed; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops.cli import CommandError, add_stack_argument, command_parser, exit_status
from ops.notifications import EVENT_BRIDGE, QUEUES, BucketNotifications, Configuration, with_queue
from ops.stack import StackDescription, describe_stack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FOLDER = "attached"  # in the bucket for reports
NOTHING, SWITCH, NOTIFICATION = "nothing", "EventBridge", "notification"  # what a command did to a bucket
CREATED, REMOVED = ("s3:ObjectCreated:*",), ("s3:ObjectRemoved:*", "s3:LifecycleExpiration:*")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A stack and an existing bucket."""

    s3: S3Client
    stack: StackDescription
    bucket: str

    @property
    def name(self) -> str:
        """Of the stack's notification in the bucket."""
        return f"image-labeller-{self.stack.name}"

    @property
    def home(self) -> tuple[str, str]:
        """The stack's account and region."""
        arn = self.stack.output("BackfillFunctionArn").split(":")
        return arn[4], arn[3]

    @property
    def notifications(self) -> BucketNotifications:
        """Of the bucket."""
        return BucketNotifications(self.s3, self.bucket, self.home[0])

    @property
    def queue(self) -> str:
        """The ARN of the stack's queue."""
        url = self.stack.output("UploadsQueueUrl")
        answer = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]

    def notifies_queue(self, configuration: Configuration) -> bool:
        """Whether the bucket notifies the stack's queue itself."""
        return any(other["QueueArn"] == self.queue for other in configuration.get(QUEUES, []))

    @property
    def _record(self) -> dict[str, Any]:
        return {"Bucket": self.stack.output("ReportsBucketName"), "Key": f"{FOLDER}/{self.bucket}.json"}

    def recorded(self) -> str | None:
        """What `make attach` did; None if it was not called, or was taken back."""
        try:
            return str(json.load(self.s3.get_object(**self._record)["Body"])["did"])
        except self.s3.exceptions.NoSuchKey:
            return None

    def record(self, did: str, before: Configuration) -> None:
        """Keep what was done, and the notifications before it."""
        content = {"bucket": self.bucket, "stack": self.stack.name, "did": did, "before": before}
        content["at"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.s3.put_object(**self._record, Body=json.dumps(content, indent=1).encode(), ContentType="application/json")

    def forget(self) -> None:
        """Remove the record."""
        self.s3.delete_object(**self._record)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.attach", __doc__)
    parser.add_argument("bucket", metavar="BUCKET", help="the bucket's name")
    add_stack_argument(parser)
    parser.add_argument("--direct", action="store_true", help="a notification to the queue instead of EventBridge")
    parser.add_argument("--gate", action="store_true", help="print the bucket policy that denies reads until labelled")
    options = parser.parse_args(arguments)
    return exit_status(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    attachment = Attachment(boto3.client("s3"), describe_stack(options.stack), options.bucket)
    if options.bucket not in attachment.stack.existing_buckets:
        raise CommandError(
            f"{options.stack} may not read {options.bucket}: deploy it with the bucket in its parameter Buckets first"
        )
    if options.gate:
        return print_gate(attachment)
    check(attachment)
    return attach_directly(attachment) if options.direct else attach(attachment)


def check(attachment: Attachment) -> None:
    """Raise CommandError for a bucket that the stack cannot label."""
    (account, region), bucket = attachment.home, attachment.bucket
    try:
        found = attachment.s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account).get("BucketRegion", region)
    except ClientError as error:
        reason = {
            "404": "does not exist",
            "403": f"belongs to another account than {account}, or you may not read it",
        }.get(error.response["Error"]["Code"], str(error))
        raise CommandError(f"the bucket {bucket} {reason}. The stack labels buckets of its own account") from error
    if found != region:
        raise CommandError(
            f"{bucket} is in {found}, the stack in {region}: a bucket's events stay in its region. Deploy a stack there"
        )
    _check_key(attachment)


def _check_key(attachment: Attachment) -> None:
    """Raise CommandError if new objects are encrypted with a key that the functions may not use."""
    try:
        rules = attachment.s3.get_bucket_encryption(Bucket=attachment.bucket, ExpectedBucketOwner=attachment.home[0])[
            "ServerSideEncryptionConfiguration"
        ]["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ServerSideEncryptionConfigurationNotFoundError":
            return
        raise
    parameters = attachment.stack.parameters
    usable = {parameters.get("KmsKeyArn", ""), *parameters.get("BucketKeyArns", "").split(",")}
    for rule in rules:
        key = rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID")
        if key is None or key in usable:
            continue
        metadata = boto3.client("kms").describe_key(KeyId=key)["KeyMetadata"]
        if metadata.get("KeyManager") != "AWS" and metadata["Arn"] not in usable:
            raise CommandError(
                f"{attachment.bucket} encrypts with {metadata['Arn']}, which the functions may not use: every picture "
                "would be UNREADABLE (ENCRYPTED). Deploy the stack with this key in BucketKeyArns first"
            )


def attach(attachment: Attachment) -> int:
    """Turn the bucket's events for EventBridge on, if they are not; returns the exit status."""
    notifications, bucket = attachment.notifications, attachment.bucket
    before = notifications.read()
    if attachment.notifies_queue(before):
        raise CommandError(
            f"{bucket} notifies the queue of {attachment.stack.name} itself: by way of EventBridge, too, each upload "
            "would come twice. If it was attached with DIRECT=1, detach it first"
        )
    if EVENT_BRIDGE in before:
        if attachment.recorded() is None:
            attachment.record(NOTHING, before)
        print(f"{bucket} sends its events to EventBridge already. Nothing was changed.")
    else:
        _change(attachment, SWITCH, before, {**before, EVENT_BRIDGE: {}})
        print(f"{bucket} sends its events to EventBridge now; its other notifications are as they were.")
    print(f"Uploads that {attachment.stack.name} asks for are labelled, the first ones in about five minutes.")
    return 0


def attach_directly(attachment: Attachment) -> int:
    """Add a notification to the stack's queue; returns the exit status."""
    notifications, bucket, stack = attachment.notifications, attachment.bucket, attachment.stack
    before = notifications.read()
    if EVENT_BRIDGE in before:
        raise CommandError(
            f"{bucket} sends its events to EventBridge, where the stack's rule takes them: DIRECT=1 would bring each "
            "upload twice. Leave DIRECT out"
        )
    if attachment.notifies_queue(before):
        print(f"{bucket} notifies the queue of {stack.name} already. Nothing was changed.")
        return 0
    events = (*CREATED, *(REMOVED if stack.writes("row") else ()))
    prefix = stack.parameters.get("KeyPrefix", "")
    after = with_queue(before, attachment.name, attachment.queue, events, prefix)
    _change(attachment, NOTIFICATION, before, after)
    print(f"{bucket} notifies the queue of {stack.name} now; its other notifications are as they were.")
    return 0


def _change(attachment: Attachment, did: str, before: Configuration, after: Configuration) -> None:
    """Write the notifications, and record it. An interruption in between leaves a bucket that detach does not touch."""
    attachment.record(NOTHING, before)  # fails before anything is changed if it may not be written
    attachment.notifications.replace(before, after)
    attachment.record(did, before)


def print_gate(attachment: Attachment) -> int:
    """Print the statements for the bucket's policy; returns the exit status. Raises CommandError without tags."""
    stack = attachment.stack
    if not stack.writes("tags"):
        raise CommandError(f"{stack.name} writes no tags (parameter Write), and the gate goes by the tags")
    functions = boto3.client("lambda")
    names = (stack.output("ClassifyFunctionName"), stack.output("BackfillFunctionArn"))
    roles = [functions.get_function_configuration(FunctionName=name)["Role"] for name in names]
    partition = roles[0].split(":")[1]
    statements = gate(
        f"arn:{partition}:s3:::{attachment.bucket}", stack.parameters.get("TagPrefix", "image-label"), roles
    )
    print(json.dumps(statements, indent=2))
    print(
        f"\nAdd these to the Statement of the policy of {attachment.bucket}, after its objects are labelled (make "
        f'backfill BUCKET={attachment.bucket}). docs/operations.md, "DenyUnlabelledReads", says what they forbid.',
        file=sys.stderr,
    )
    return 0


def gate(bucket_arn: str, tag: str, roles: list[str]) -> list[dict[str, Any]]:
    """The statements of template.yaml's UploadsBucketPolicy for DenyUnlabelledReads."""
    nobody_else = {"ArnNotEquals": {"aws:PrincipalArn": roles}}
    return [
        {
            "Sid": "DenyReadsUntilLabelled",
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": f"{bucket_arn}/*",
            "Condition": {"Null": {f"s3:ExistingObjectTag/{tag}": "true"}, **nobody_else},
        },
        {
            "Sid": "OnlyTheFunctionsLabel",
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectVersionTagging"],
            "Resource": f"{bucket_arn}/*",
            "Condition": {"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": [tag]}, **nobody_else},
        },
    ]


if __name__ == "__main__":
    sys.exit(main())
