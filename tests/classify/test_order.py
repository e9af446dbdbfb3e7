"""Any history of one object, played call by call: at the end tags, rows and events agree with the bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classify.labelling import Labeller
from labeller.results import Tagging
from labeller.rows import _attribute
from labeller.storage import Storage
from ops.review.reviewing import Reviewer
from tests.classify.world import ALL, CONTENTS, WRITES, World, real_labeller

NUMBERS = st.integers(0, 7)
Step = tuple[Any, ...]
HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(sorted(CONTENTS))),
        st.tuples(st.just("delete")),
        st.tuples(st.just("deny"), st.booleans()),
        st.tuples(st.sampled_from(["duplicate", "crash", "delete_version", "ask"]), NUMBERS),
        st.tuples(st.sampled_from(["receive", "finish"]), NUMBERS),
        st.tuples(st.just("review"), NUMBERS, st.sampled_from(["cat", "dog", None])),
        st.tuples(st.just("go_on"), st.integers(0, 1), st.integers(1, 8)),  # an object takes five to eight calls
    ),
    max_size=40,
)
KINDS = ["unversioned", "versioned", "not notified"]


@pytest.fixture(scope="module")
def labeller(tmp_path_factory: pytest.TempPathFactory) -> Labeller:
    return real_labeller(tmp_path_factory.mktemp("model"))


def play(labeller: Labeller, kind: str, history: list[Step], write: str = ALL, ahead: bool = False) -> list[str]:
    versioned, notifies = kind == "versioned", kind != "not notified"
    world = World(labeller, versioned=versioned, notifies=notifies, write=write, ahead=ahead)
    for name, *arguments in history:
        getattr(world, name)(*arguments)
    world.settle()
    return world.disagreements()


@pytest.mark.parametrize("kind", KINDS)
def test_after_any_history_tags_rows_and_events_agree_with_the_bucket(labeller: Labeller, kind: str) -> None:
    @settings(max_examples=360, deadline=None, suppress_health_check=list(HealthCheck))
    @given(HISTORIES, st.sampled_from(WRITES), st.booleans())
    def holds(history: list[Step], write: str, ahead: bool) -> None:
        assert play(labeller, kind, history, write, ahead) == []

    holds()


def always(answer: bool) -> Callable[..., bool]:
    return lambda *_: answer


def unconditionally(storage: Storage, ref: Any, item: Any) -> bool:
    storage._dynamodb.items[item["version"]] = {k: _attribute(v) for k, v in item.items()}
    return True


exchange_row = Storage.exchange_row


def blindly(storage: Storage, ref: Any, item: Any) -> Mapping[str, Any] | None:
    """Does not say which row was there."""
    return None if exchange_row(storage, ref, item) is None else {}


def as_if_it_were_written(storage: Storage, ref: Any, item: Any) -> Mapping[str, Any]:
    return exchange_row(storage, ref, item) or {}


async def are_kept(*_: Any) -> bool:
    return True


def over_later_events(storage: Storage, ref: Any, item: Any) -> Mapping[str, Any]:
    unconditionally(storage, ref, item)
    return {}


def whatever_the_row(storage: Storage, ref: Any, review: Any, before: Any) -> bool:
    attributes = {k: _attribute(v) for k, v in review.attributes().items()}
    storage._dynamodb.items[ref.version_id or "null"] |= attributes
    return True


async def once(reviewer: Reviewer, ref: Any) -> Tagging:
    return await reviewer._write_tags_once(ref) or Tagging.WRITTEN


LABELLED: list[Step] = [("put", "red"), ("finish", 0)]
LABELLED_TWICE: list[Step] = [("put", "red"), ("duplicate", 0), ("finish", 0)]
# Two workers: the first one stands before its tags when the object is replaced, and writes them after the second one.
OVERTAKEN: list[Step] = [
    *[("put", "red"), ("receive", 0), ("go_on", 0, 3), ("put", "blue"), ("receive", 0), ("go_on", 1, 4)],
    ("go_on", 0, 1),
]

# Rule broken -> the kind of bucket, the history that shows it, the method of Storage or Reviewer, what it does instead.
BROKEN: dict[str, tuple[str, list[Step], str, Callable[..., Any]]] = {
    "nobody looks again after tagging": (
        "unversioned",
        [("put", "red"), ("receive", 0), ("go_on", 0, 3), ("put", "blue")],
        "is_unchanged",
        always(True),
    ),
    "nobody looks again where nothing has a sequencer": (
        "not notified",
        [("put", "red"), ("ask",), ("receive", 0), ("go_on", 0, 4), ("put", "blue")],
        "is_unchanged",
        always(True),
    ),
    "the row that was there is ignored": ("unversioned", [*OVERTAKEN, ("go_on", 0, 1)], "exchange_row", blindly),
    "the tags are not read again": ("unversioned", [*OVERTAKEN, ("go_on", 0, 1)], "_are_tags_kept", are_kept),
    "a row that stays is ignored": ("unversioned", OVERTAKEN, "exchange_row", as_if_it_were_written),
    "older events replace newer results": (
        "unversioned",
        [("put", "red"), ("receive", 0), ("go_on", 0, 4), ("delete",)],
        "exchange_row",
        over_later_events,
    ),
    "what has no event replaces what has": (
        "versioned",
        [("put", "red"), ("ask",), ("receive", 1), ("go_on", 0, 7), ("delete_version", 0)],
        "replace_row",
        unconditionally,
    ),
    "a backfill does not look for an answer": (
        "unversioned",
        [*LABELLED, ("ask",), ("receive", 0), ("go_on", 0, 4), ("review", 0, "cat"), ("finish", 0)],
        "replace_row",
        unconditionally,
    ),
    "a redelivery does not look for an answer": (
        "unversioned",
        [*LABELLED_TWICE, ("receive", 0), ("go_on", 0, 3), ("review", 0, "cat"), ("finish", 0)],
        "exchange_row",
        over_later_events,
    ),
    "an answer is taken without looking at the row": (
        "unversioned",
        [*LABELLED, ("review", 0, "cat"), ("receive", 0), ("go_on", 0, 2), ("put", "blue"), ("finish", 0)],
        "write_review",
        whatever_the_row,
    ),
    "nobody looks again after an answer": (
        "unversioned",
        [*LABELLED, ("review", 0, "cat"), ("receive", 0), ("go_on", 0, 6), ("put", "blue"), ("finish", 0)],
        "write_tags_of_row",
        once,
    ),
    "an answer is confirmed without its event": (
        "unversioned",
        [*LABELLED, ("review", 0, "cat"), ("finish", 0)],
        "put_events",
        lambda _storage, details, *_: [None for _ in details],
    ),
    "tags are never read": ("versioned", [("put", "red")], "read_tags", lambda *_: []),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_the_history_test_detects_a_broken_rule(labeller: Labeller, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    kind, history, method, instead = BROKEN[rule]
    assert play(labeller, kind, history) == []

    owner = next(kind for kind in (Labeller, Reviewer, Storage) if hasattr(kind, method))
    monkeypatch.setattr(owner, method, instead)

    assert play(labeller, kind, history) != []


def test_an_answer_that_was_never_confirmed_needs_no_event_once_its_content_is_replaced(labeller: Labeller) -> None:
    interrupted = [*LABELLED, ("review", 0, "cat"), ("receive", 0), ("go_on", 0, 3), ("put", "blue"), ("crash", 0)]

    assert play(labeller, "unversioned", interrupted) == []


@pytest.mark.parametrize("write", ["row", "row,event"])
def test_without_tags_only_a_request_without_a_sequencer_needs_a_second_look(
    labeller: Labeller, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    kind, history, method, instead = BROKEN["nobody looks again where nothing has a sequencer"]
    earlier = [("put", "red"), ("receive", 0), ("go_on", 0, 1), ("put", "blue")]
    assert play(labeller, kind, history, write) == play(labeller, "unversioned", earlier, write) == []

    monkeypatch.setattr(Storage, method, instead)

    assert play(labeller, kind, [("put", "red"), ("ask",), ("receive", 0), ("go_on", 0, 3), ("put", "blue")], write)
    monkeypatch.setattr(Storage, method, lambda *_: pytest.fail("a look at an object that has an event"))
    assert play(labeller, "unversioned", earlier, write) == []
