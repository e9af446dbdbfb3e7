"""DynamoDB calls for the row of one object. Raises the exceptions of `aws_errors`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from labeller.aws_errors import aws_errors
from labeller.events import ObjectRef
from labeller.results import Status
from labeller.reviews import Review, review_of

if TYPE_CHECKING:  # the stubs are not in Lambda
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, PutItemInputTypeDef


class ReviewChanged(Exception):
    """The row has another review of this content than the row to be written; `review` is the one that it has."""

    def __init__(self, review: Review | None) -> None:
        super().__init__("the row has another review")
        self.review = review


class Rows:
    """The rows of a table, through the given client."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read_row(self, ref: ObjectRef, *names: str) -> dict[str, Any]:
        """The named attributes of the row that exist, numbers as Decimal; empty without a row. Raises AwsFailure."""
        aliases = {f"#{name}": name for name in names}  # some are DynamoDB's reserved words
        with aws_errors("GetItem", ref.name):
            response = self._dynamodb.get_item(
                TableName=self._table,
                Key=_key(ref),
                ProjectionExpression=", ".join(aliases),
                ExpressionAttributeNames=aliases,
                ConsistentRead=True,
            )
        return _values(response.get("Item", {}))

    def read_sequencer(self, ref: ObjectRef) -> str:
        """The sequencer of the object's row; "" if there is no row, or none in it. Raises AwsFailure."""
        return str(self.read_row(ref, "sequencer").get("sequencer", ""))

    def put_row(self, ref: ObjectRef, item: Mapping[str, Any]) -> bool:
        """Write the row of records.item_for; False if it already holds the result of a later event.

        An equal sequencer overwrites: S3 may deliver an event twice. Raises AwsFailure, and ReviewChanged if the row
        has another review of the same content than `item`.
        """
        return self.exchange_row(ref, item) is not None

    def exchange_row(self, ref: ObjectRef, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """`put_row`; returns the row that was there, {} if there was none, None if it stays."""
        return self._put(ref, item, "attribute_not_exists(sequencer) OR sequencer <= :sequencer")

    def replace_row(self, ref: ObjectRef, item: Mapping[str, Any]) -> bool:
        """Write the row if its sequencer still equals the item's, or is still missing; False otherwise.

        For requests without a sequencer, which have no position in the order of events. Raises as `put_row`.
        """
        condition = "sequencer = :sequencer" if "sequencer" in item else "attribute_not_exists(sequencer)"
        return self._put(ref, item, condition) is not None

    def _put(self, ref: ObjectRef, item: Mapping[str, Any], condition: str) -> Mapping[str, Any] | None:
        if unreviewed := _unreviewed(item):
            condition = f"({condition}) AND ({unreviewed})"
        request: PutItemInputTypeDef = {
            "TableName": self._table,
            "Item": {name: _attribute(value) for name, value in item.items()},
            "ConditionExpression": condition,
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        names = [name for name in ("sequencer", "etag", "reviewed_at") if f":{name}" in condition]
        if names:
            request["ExpressionAttributeValues"] = {f":{name}": _attribute(item[name]) for name in names}
        with aws_errors("PutItem", ref.name):
            try:
                return _values(self._dynamodb.put_item(**request).get("Attributes", {}))
            except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
                response: Mapping[str, Any] = error.response
                stored = _values(response.get("Item", {}))
        if item.get("status") != Status.DELETED:
            review = review_of(stored, item.get("etag"), item.get("sequencer"))
            if (review.at if review else None) != item.get("reviewed_at"):
                raise ReviewChanged(review)
        return None

    def write_review(self, ref: ObjectRef, review: Review, before: str | None) -> bool:
        """Put the review into the row; False if the row is of other content, or its last review not of `before`.

        `before` is that review's time; None if there is none. Raises AwsFailure.
        """
        unchanged = "reviewed_at = :before" if before else "attribute_not_exists(reviewed_at)"
        values = {f":{name}": _attribute(value) for name, value in review.attributes().items()}
        assignments = "SET " + ", ".join(f"{name[1:]} = {name}" for name in values)
        if review.label is None:
            assignments += " REMOVE human_label"
        if before:
            values[":before"] = {"S": before}
        return self._update(ref, assignments, f"etag = :reviewed_etag AND {unchanged}", values)

    def write_tagging(self, ref: ObjectRef, tagging: str, reviewed_at: str) -> bool:
        """Put the outcome of the tags into the row; False if a later review exists. Raises AwsFailure."""
        values: dict[str, Any] = {":tagging": {"S": tagging}, ":reviewed_at": {"S": reviewed_at}}
        return self._update(ref, "SET tagging = :tagging", "reviewed_at = :reviewed_at", values)

    def _update(self, ref: ObjectRef, expression: str, condition: str, values: dict[str, Any]) -> bool:
        with aws_errors("UpdateItem", ref.name):
            try:
                self._dynamodb.update_item(
                    TableName=self._table,
                    Key=_key(ref),
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                return False
            return True


def _unreviewed(item: Mapping[str, Any]) -> str:
    """The condition that the row has no other review of the content; "" if no review could be of it."""
    if "reviewed_at" in item:
        return "reviewed_at = :reviewed_at"
    if item.get("status") == Status.DELETED or not {"etag", "sequencer"} & item.keys():
        return ""
    other = "reviewed_etag <> :etag" if "etag" in item else "attribute_not_exists(sequencer) OR sequencer <> :sequencer"
    return f"attribute_not_exists(reviewed_at) OR {other}"


def _key(ref: ObjectRef) -> dict[str, Any]:
    return {"object": {"S": ref.path}, "version": {"S": ref.version_id or "null"}}


def _attribute(value: str | Decimal | Mapping[str, Any] | list[Any]) -> AttributeValueTypeDef:
    """A value of records.item_for in DynamoDB's format. boto3's serializer would load boto3."""
    if isinstance(value, list):
        return {"L": [_attribute(entry) for entry in value]}
    if isinstance(value, Mapping):
        return {"M": {name: _attribute(member) for name, member in value.items()}}
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(attribute) for name, attribute in row.items()}


def _value(attribute: Any) -> Any:
    """The inverse of `_attribute`."""
    ((kind, value),) = attribute.items()
    if kind == "L":
        return [_value(entry) for entry in value]
    if kind == "M":
        return {name: _value(member) for name, member in value.items()}
    return Decimal(value) if kind == "N" else value
