from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeller.events import Change, ObjectRef
from labeller.images import Decoded, Reason, Unreadable
from labeller.inference import labelled, unreadable
from labeller.records import (
    INDEX_SHARDS,
    Tag,
    deleted_item,
    event_detail,
    index_keys,
    is_tag_text,
    item_for,
    merge_tags,
    padded,
    says_human,
    tag_value,
    tags_for,
    tags_of_row,
)
from labeller.results import RESERVED_LABELS, Neighbour, Prediction, Result, Status, Tagging, Thresholds
from local import ROOT

REF = ObjectRef("uploads", "a/b.jpg", None, "0055aed6dcd90281e5", "2026-11-24T08:00:00.000Z")
CAT = Prediction("cat", 0.97312, {"cat": 0.97312, "dog": 0.02688})
FAMILIAR_CAT = replace(
    CAT, familiarity=0.025, nearest=(Neighbour("cat/7.jpg", "cat", 0.9), Neighbour("dog/2.jpg", "dog", 0.8333333))
)
PICTURE = Decoded(np.zeros((8, 8, 3), np.uint8), 4032, 3024, "JPEG")
NOW = datetime(2026, 11, 24, 8, 0, 1, 234567, tzinfo=UTC)


def tags(**values: str) -> list[Tag]:
    return [Tag(Key=key.replace("_", "-"), Value=value) for key, value in values.items()]


def row(result: Result, tagging: Tagging = Tagging.WRITTEN, ref: ObjectRef = REF, ttl_days: int = 0) -> dict:
    return item_for(ref, result, tagging, etag="new", size=1234, classified_at=NOW, ttl_days=ttl_days)


def test_the_values_in_rows_and_events_are_those_of_the_events_schema() -> None:
    stored = json.loads((ROOT / "docs" / "image-classified.schema.json").read_text(encoding="utf-8"))["properties"]

    assert [*stored["status"]["enum"], "DELETED"] == list(Status)  # a deletion sends no event
    assert stored["reason"]["enum"] == list(Reason)
    assert stored["tagging"]["enum"] == list(Tagging)


# ---- status -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "status"),
    [(0.9, Status.LABELLED), (0.97312, Status.LABELLED), (0.98, Status.UNSURE), (0.0, Status.LABELLED)],
)
def test_a_label_counts_from_the_threshold_on(threshold: float, status: Status) -> None:
    assert labelled(CAT, PICTURE, "m1", Thresholds(threshold, None)).status is status


@pytest.mark.parametrize(
    ("familiarity", "threshold", "status"),
    [
        (0.009999, 0.01, Status.UNKNOWN),
        (0.01, 0.01, Status.LABELLED),  # as for the confidence, the threshold itself passes
        (0.0, 0.0, Status.LABELLED),  # 0 turns it off
        (0.0, None, Status.LABELLED),  # a model without a threshold of its own
        (None, 1.0, Status.LABELLED),  # a model without familiarity, under an operator's threshold
    ],
)
def test_a_picture_is_unknown_below_the_threshold_of_familiarity(
    familiarity: float | None, threshold: float | None, status: Status
) -> None:
    assert Thresholds(0.9, threshold).status(replace(CAT, familiarity=familiarity)) is status


def test_a_picture_that_is_unlike_anything_is_unknown_even_if_the_model_is_not_sure_either() -> None:
    assert Thresholds(confidence=0.99, familiarity=0.01).status(replace(CAT, familiarity=0.001)) is Status.UNKNOWN


def test_the_names_of_results_without_a_label_are_reserved() -> None:
    assert {"UNSURE", "UNKNOWN", "UNREADABLE", "DELETED"} == RESERVED_LABELS


# ---- tags -------------------------------------------------------------------------------------------------


def test_a_labelled_object_is_tagged_with_label_confidence_and_model() -> None:
    assert tags_for(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), "image-label") == [
        {"Key": "image-label", "Value": "cat"},
        {"Key": "image-label-confidence", "Value": "0.9731"},
        {"Key": "image-label-model", "Value": "m1"},
    ]


def test_the_tags_say_the_label_of_a_person_and_that_it_is_one() -> None:
    sure = labelled(CAT, PICTURE, "m1", Thresholds(0.9, None))
    reviewed = row(sure) | {"human_label": "dog"}

    human = [{"Key": "l", "Value": "dog"}, {"Key": "l-source", "Value": "human"}]
    assert tags_for(sure, "l", "dog") == tags_of_row(reviewed, "l") == human
    assert says_human(tags(l="dog", l_source="human"), "l")
    assert not says_human(tags(l="dog", l_source="machine"), "l")
    assert merge_tags(tags(owner="Ann", l_source="human"), tags_for(sure, "l"), "l") == [
        {"Key": "owner", "Value": "Ann"},
        *tags_for(sure, "l"),
    ]


@pytest.mark.parametrize("thresholds", [Thresholds(0.9, None), Thresholds(0.99, None)])
def test_the_tags_of_a_row_are_those_of_its_result(thresholds: Thresholds) -> None:
    for result in (labelled(CAT, PICTURE, "m1", thresholds), unreadable(Unreadable(Reason.EMPTY, ""), "m1")):
        assert tags_of_row(row(result), "l") == tags_for(result, "l")


@pytest.mark.parametrize(
    ("thresholds", "value"), [(Thresholds(0.99, 0.01), "UNSURE"), (Thresholds(0.9, 0.1), "UNKNOWN")]
)
def test_the_label_of_a_picture_without_one_is_not_given_away_in_the_tag(thresholds: Thresholds, value: str) -> None:
    values = {tag["Key"]: tag["Value"] for tag in tags_for(labelled(FAMILIAR_CAT, PICTURE, "m1", thresholds), "l")}

    assert values == {"l": value, "l-confidence": "0.9731", "l-model": "m1"}


def test_an_unreadable_object_has_no_confidence() -> None:
    result = unreadable(Unreadable(Reason.EMPTY, "the object has no content"), "m1")

    assert tags_for(result, "l") == [
        {"Key": "l", "Value": "UNREADABLE"},
        {"Key": "l-model", "Value": "m1"},
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cat", "cat"),
        ("German shepherd", "German shepherd"),
        ("a+b-c=d.e_f:g/h@i", "a+b-c=d.e_f:g/h@i"),
        ("Kätzchen 猫", "Kätzchen 猫"),
        ("cat, tabby", "cat_ tabby"),
        ("<script>&\n\t\0", "_script_____"),
        ("x" * 300, "x" * 256),
    ],
)
def test_tag_values_hold_only_what_s3_accepts(text: str, value: str) -> None:
    assert tag_value(text) == value


@pytest.mark.parametrize(
    ("text", "accepted"), [("cat", True), ("Kätzchen 猫", True), ("", False), ("a,b", False), ("a\n", False)]
)
def test_a_tag_text_has_characters_and_only_those_that_s3_accepts(text: str, accepted: bool) -> None:
    assert is_tag_text(text) is accepted


@given(st.text(max_size=400))
def test_no_text_makes_a_tag_value_that_s3_would_refuse(text: str) -> None:
    value = tag_value(text)

    assert len(value) <= 256
    assert all(character.isalnum() or character in " +-=._:/@" or character == "_" for character in value)


def test_other_peoples_tags_survive_in_their_order() -> None:
    existing = tags(owner="Ann", image_label="old", project="x", image_label_confidence="0.1")
    ours = tags(image_label="cat", image_label_confidence="0.9", image_label_model="m1")

    merged = merge_tags(existing, ours, "image-label")

    assert merged == tags(owner="Ann", project="x") + ours


def test_a_tag_that_only_looks_like_ours_stays() -> None:
    existing = tags(image_label_reviewed="yes", image_labels="x")

    assert merge_tags(existing, tags(image_label="cat"), "image-label") == [
        *existing,
        *tags(image_label="cat"),
    ]


def test_an_earlier_confidence_goes_when_the_new_content_is_unreadable() -> None:
    merged = merge_tags(tags(l_confidence="0.9", l="cat"), tags(l="UNREADABLE", l_model="m1"), "l")

    assert merged == tags(l="UNREADABLE", l_model="m1")


def test_there_is_room_for_ten_tags_and_no_more() -> None:
    ours = tags(l="cat", l_confidence="0.9", l_model="m1")
    seven = [Tag(Key=f"k{i}", Value="v") for i in range(7)]

    assert merge_tags(seven, ours, "l") == seven + ours
    assert merge_tags([*seven, Tag(Key="k7", Value="v")], ours, "l") is None


def test_ten_tags_with_ours_among_them_leave_room() -> None:
    ours = tags(l="cat", l_confidence="0.9", l_model="m1")
    seven = [Tag(Key=f"k{i}", Value="v") for i in range(7)]

    assert merge_tags([*ours, *seven], ours, "l") == seven + ours


def test_merging_changes_neither_argument() -> None:
    existing, ours = tags(l="old", a="b"), tags(l="new")

    merge_tags(existing, ours, "l")

    assert (existing, ours) == (tags(l="old", a="b"), tags(l="new"))


# ---- row --------------------------------------------------------------------------------------------------


def test_the_row_of_a_labelled_object() -> None:
    assert row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None))) == {
        "object": "uploads/a/b.jpg",
        "version": "null",
        "bucket": "uploads",
        "key": "a/b.jpg",
        "status": "LABELLED",
        "label": "cat",
        "confidence": Decimal("0.973120"),
        "scores": {"cat": Decimal("0.973120"), "dog": Decimal("0.026880")},
        "model": "m1",
        "etag": "new",
        "size": Decimal(1234),
        "width": Decimal(4032),
        "height": Decimal(3024),
        "format": "JPEG",
        "sequencer": "0055AED6DCD90281E500000000000000",
        "event_time": "2026-11-24T08:00:00.000Z",
        "classified_at": "2026-11-24T08:00:01.234+00:00",
        "tagging": "WRITTEN",
        "label_day": "cat#2026-11-24#0",  # python3 -c 'import zlib; print(zlib.crc32(b"uploads/a/b.jpg") % 8)'
    }


def test_the_row_of_an_unreadable_object_has_a_reason_and_no_label() -> None:
    result = unreadable(Unreadable(Reason.TRUNCATED, "JPEG: image file is truncated"), "m1")

    item = row(result)

    assert (item["status"], item["reason"], item["detail"]) == (
        "UNREADABLE",
        "TRUNCATED",
        "JPEG: image file is truncated",
    )
    assert not {"label", "confidence", "scores", "width", "height", "format"} & set(item)
    assert result.prediction is None


def test_an_unsure_row_keeps_the_likeliest_label() -> None:
    item = row(labelled(CAT, PICTURE, "m1", Thresholds(0.99, None)))

    assert (item["status"], item["label"]) == ("UNSURE", "cat")


@pytest.mark.parametrize(
    ("thresholds", "status"), [(Thresholds(0.99, 0.01), "UNSURE"), (Thresholds(0.9, 0.1), "UNKNOWN")]
)
def test_a_row_without_a_label_names_the_training_pictures_that_resemble_the_picture(
    thresholds: Thresholds, status: str
) -> None:
    item = row(labelled(FAMILIAR_CAT, PICTURE, "m1", thresholds))

    assert (item["status"], item["label"], item["scores"]["cat"]) == (status, "cat", Decimal("0.973120"))
    assert item["familiarity"] == Decimal("0.025000")
    assert item["nearest"] == [
        {"path": "cat/7.jpg", "label": "cat", "similarity": Decimal("0.900000")},
        {"path": "dog/2.jpg", "label": "dog", "similarity": Decimal("0.833333")},
    ]


def test_a_labelled_row_stays_small() -> None:
    item = row(labelled(FAMILIAR_CAT, PICTURE, "m1", Thresholds(0.9, 0.01)))

    assert (item["status"], item["familiarity"]) == ("LABELLED", Decimal("0.025000"))
    assert "nearest" not in item


def test_the_event_has_the_familiarity_as_a_number_and_no_training_pictures() -> None:
    detail = event_detail(row(labelled(FAMILIAR_CAT, PICTURE, "m1", Thresholds(0.9, 0.1))))

    assert (detail["status"], detail["familiarity"], detail["confidence"]) == ("UNKNOWN", 0.025, 0.97312)
    assert "nearest" not in detail


def test_a_version_is_the_sort_key() -> None:
    ref = ObjectRef("uploads", "a", "v1", "01")

    item = row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), ref=ref)

    assert item["version"] == "v1"
    assert "event_time" not in item


def test_the_row_says_when_there_was_no_room_for_tags() -> None:
    assert row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), Tagging.NO_ROOM)["tagging"] == "NO_ROOM"


def test_the_event_of_a_row_has_no_scores_and_no_index() -> None:
    assert event_detail(row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)))) == {
        "schema": 1,
        "version": "null",
        "bucket": "uploads",
        "key": "a/b.jpg",
        "status": "LABELLED",
        "label": "cat",
        "confidence": 0.97312,
        "model": "m1",
        "etag": "new",
        "sequencer": "0055AED6DCD90281E500000000000000",
        "tagging": "WRITTEN",
        "time": "2026-11-24T08:00:01.234+00:00",
    }


def test_a_row_expires_only_if_asked_to() -> None:
    # 2026-11-24T08:00:01Z is 1,795,507,201 seconds after 1970 (date -d ... +%s); two days are 172,800.
    assert row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), ttl_days=2)["expires_at"] == Decimal(1_795_680_001)
    assert "expires_at" not in row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), ttl_days=0)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E6"),
        ("0055AED6DCD9", "0055AED6DCD90281E5"),  # shorter: filled on the right
        ("0055aed6dcd90281e5", "0055AED6DCD90281E6"),
        ("9", "A"),
        ("", "00000001"),
    ],
)
def test_padded_sequencers_compare_as_text(earlier: str, later: str) -> None:
    assert padded(earlier) < padded(later)
    assert len(padded(earlier)) == 32


def test_a_row_without_an_event_has_no_sequencer() -> None:
    assert "sequencer" not in row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), ref=replace(REF, sequencer=""))


def test_a_refused_object_has_neither_etag_nor_size() -> None:
    result = unreadable(Unreadable(Reason.ARCHIVED, "in GLACIER"), "m1")

    item = item_for(REF, result, Tagging.ARCHIVED, etag=None, size=None, classified_at=NOW, ttl_days=0)

    assert (item["reason"], item["tagging"]) == ("ARCHIVED", "ARCHIVED")
    assert not {"etag", "size"} & set(item)


def test_a_deleted_row_keeps_nothing_of_the_picture() -> None:
    marker = replace(REF, version_id="v2", change=Change.DELETE_MARKER)

    assert deleted_item(marker, deleted_at=NOW, ttl_days=2) == {
        "object": "uploads/a/b.jpg",
        "version": "v2",
        "bucket": "uploads",
        "key": "a/b.jpg",
        "status": "DELETED",
        "reason": "DELETE_MARKER",
        "sequencer": "0055AED6DCD90281E500000000000000",
        "event_time": "2026-11-24T08:00:00.000Z",
        "classified_at": "2026-11-24T08:00:01.234+00:00",
        "label_day": "DELETED#2026-11-24#0",
        "expires_at": Decimal(1_795_680_001),
    }
    assert "reason" not in deleted_item(replace(marker, change=Change.DELETED), deleted_at=NOW, ttl_days=0)


@given(
    st.text(min_size=1, max_size=1024),
    st.dictionaries(st.text(min_size=1, max_size=2000), st.floats(0, 1), min_size=2, max_size=300),
    st.text(max_size=3000),
)
@settings(max_examples=30, deadline=None)
def test_no_row_is_larger_than_dynamodb_takes(key: str, scores: dict[str, float], detail: str) -> None:
    label = max(scores, key=lambda name: scores[name])
    neighbours = (Neighbour(detail, label, 1.0),) * 3
    prediction = Prediction(label, scores[label], scores, 0.0, neighbours)
    result = labelled(prediction, PICTURE, "m1", Thresholds(0.5, 0.5))

    item = row(replace(result, detail=detail), ref=replace(REF, key=key))

    def size(value: object) -> int:
        """An upper bound on what DynamoDB counts: UTF-8, numbers of 21 bytes, 3 bytes a map and 1 an entry."""
        if isinstance(value, dict):
            return 3 + sum(size(name) + size(each) + 1 for name, each in value.items())
        if isinstance(value, list):
            return 3 + sum(size(entry) + 1 for entry in value)
        return len(str(value).encode()) if isinstance(value, str) else 21

    assert size(item) < 400 * 1024
    assert len(item["label_day"].encode()) <= 2048  # a partition key; the sort keys, version and time, are short
    # Ten fit into one PutEvents (256 KB; EventBridge user guide), with half a kilobyte each for source, type and bus.
    assert len(json.dumps(event_detail(item), ensure_ascii=False).encode()) < 25 * 1024


def test_labels_and_details_are_cut_at_five_hundred_characters() -> None:
    long = "ä" * 501
    picture = row(labelled(Prediction(long, 0.9, {long: 0.9, "cat": 0.1}), PICTURE, "m1", Thresholds(0.5, None)))
    other = row(unreadable(Unreadable(Reason.CORRUPT, long), "m1"))

    assert [picture["label"], other["detail"]] == ["ä" * 500] * 2
    assert set(picture["scores"]) == {"ä" * 500, "cat"}
    assert picture["label_day"] == f"{'ä' * 500}#2026-11-24#0"


def test_only_the_highest_scores_are_kept() -> None:
    scores = {f"label {i}": i / 1000 for i in range(500)}

    kept = row(labelled(Prediction("label 499", 0.499, scores), PICTURE, "m1", Thresholds(0.1, None)))["scores"]

    assert set(kept) == {f"label {i}" for i in range(400, 500)}


# ---- index ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), "cat"),
        (labelled(CAT, PICTURE, "m1", Thresholds(0.99, None)), "UNSURE"),
        (labelled(FAMILIAR_CAT, PICTURE, "m1", Thresholds(0.9, 0.1)), "UNKNOWN"),
        (unreadable(Unreadable(Reason.EMPTY, "nothing"), "m1"), "UNREADABLE"),
    ],
)
def test_every_row_is_under_one_of_the_keys_to_query_for_it(result: Result, name: str) -> None:
    for number in range(50):
        item = row(result, ref=replace(REF, key=f"{number}.jpg"))
        assert item["label_day"] in index_keys(name, date(2026, 11, 24))


def test_rows_spread_over_all_shards() -> None:
    keys = [
        row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), ref=replace(REF, key=f"{n}.jpg"))["label_day"]
        for n in range(800)
    ]

    counts = [keys.count(key) for key in index_keys("cat", date(2026, 11, 24))]

    # Rows stay in their partitions: with fewer shards, or another assignment, queries would miss those of the past.
    assert row(labelled(CAT, PICTURE, "m1", Thresholds(0.9, None)), ref=replace(REF, key="18.jpg"))[
        "label_day"
    ].endswith("#5")
    assert len(counts) == INDEX_SHARDS
    assert sum(counts) == 800
    assert min(counts) > 50  # 100 each, if they were dealt out
