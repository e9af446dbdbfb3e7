"""Every call to AWS fails once, at every place and in every way, and the process is killed between any two of them.

The calls are those that a good run makes, recorded, not listed here.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from labeller.settings import Settings
from tests.classify.conftest import BUCKET, Service
from tests.classify.wire import LASTING, PASSING, Call, Killed, Way, Wire, answer, failing, killing, nothing
from tests.support import (
    BLUE,
    RED,
    Printed,
    batch_job,
    encoded,
    eventbridge_event,
    load_template,
    notification,
    plain,
    record,
    sqs_batch,
)

DONE: dict[str, Any] = {"batchItemFailures": []}
WAYS = PASSING | LASTING
CALLS = ["GetObject", "GetObjectTagging", "PutObjectTagging", "PutItem", "HeadObject", "PutEvents"]


def labelled_before(service: Service, key: str) -> None:
    """The table has the row of earlier content, so that object and tags are looked at again."""
    row = {"object": f"{BUCKET}/{key}", "version": "null", "key": key, "status": "LABELLED", "label": "blue"}
    service.table.put_item(Item=row | {"etag": "of earlier content", "sequencer": "0" * 32})


@pytest.fixture
def wire(service: Service, monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


class Pair:
    """Two uploads in one batch: a red picture, whose calls shall fail, with a tag of Ann's, and its blue neighbour.

    The red one takes the place of another object, which adds the second look to its calls.
    """

    numbers = itertools.count()

    def __init__(self, service: Service) -> None:
        number = next(self.numbers)
        self.service, self.red, self.blue = service, f"red-{number}.png", f"blue-{number}.png"
        self.events = [
            service.upload(self.red, encoded(plain(RED)), tags="owner=Ann"),
            service.upload(self.blue, encoded(plain(BLUE))),
        ]
        labelled_before(service, self.red)
        self.batch = sqs_batch(*map(notification, self.events))

    def failed(self, response: dict[str, Any]) -> list[dict[str, Any]]:
        """The events to be brought again."""
        named = [failure["itemIdentifier"] for failure in response["batchItemFailures"]]
        return [self.events[int(name.rpartition("-")[2])] for name in named]

    def redeliver(self, events: list[dict[str, Any]]) -> None:
        assert not events or self.service.invoke(sqs_batch(*map(notification, events))) == DONE

    def is_right(self) -> None:
        """Nothing is lost, and nothing was ever called something else."""
        rows, published = self.service.rows(), self.service.published()
        for key, label in ((self.red, "red"), (self.blue, "blue")):
            assert (rows[key]["label"], rows[key]["tagging"]) == (label, "WRITTEN")
            assert self.service.tags(key)["image-label"] == label
            assert {event["detail"]["label"] for event in published if event["detail"]["key"] == key} == {label}
        assert self.service.tags(self.red)["owner"] == "Ann"


def calls_of_a_good_run(service: Service, wire: Wire) -> list[tuple[str, int]]:
    """Name and number of each call about the red picture."""
    pair = Pair(service)
    with wire.watched(pair.red, pair.blue):
        assert service.invoke(pair.batch) == DONE
    pair.is_right()
    return [(call.name, call.number) for call in wire.calls if pair.red in call.about]


def places(service: Service, wire: Wire) -> Iterator[tuple[Pair, str, Callable[[Call], bool]]]:
    """For each call of a good run: a new pair of uploads, the call's name, and what picks that call."""
    for name, number in calls_of_a_good_run(service, wire):
        pair = Pair(service)

        def which(call: Call, pair: Pair = pair, name: str = name, number: int = number) -> bool:
            return (call.name, call.number) == (name, number) and pair.red in call.about

        yield pair, name, which


def test_a_picture_takes_these_calls(service: Service, wire: Wire) -> None:
    names = [name for name, _ in calls_of_a_good_run(service, wire)]
    names.remove("PutEvents")  # beside the last two
    assert names == [*CALLS[:-1], "GetObjectTagging"]


@pytest.mark.parametrize("way", PASSING)
def test_a_fault_within_botocores_retries_fails_nothing(service: Service, wire: Wire, way: str) -> None:
    for pair, _, which in places(service, wire):
        with wire.watched(pair.red, pair.blue, plan=failing(which, PASSING[way], attempts=1)):
            assert service.invoke(pair.batch) == DONE
        assert len(wire.attempts) == len(wire.calls) + 1
        pair.is_right()


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_fails_in_one_invocation_retries_its_message_alone(
    service: Service, wire: Wire, printed: Callable[[], Printed], way: str
) -> None:
    for pair, name, which in places(service, wire):
        about: list[str] = []
        printed()

        def plan(call: Call, *rest: Any, which: Any = which, about: list[str] = about) -> Any:
            about.extend(call.about if which(call) else ())
            return failing(which, WAYS[way], attempts=99)(call, *rest)

        with wire.watched(pair.red, pair.blue, plan=plan):
            failed = pair.failed(service.invoke(pair.batch))

        # Of a call about several objects (PutEvents) each has failed.
        assert {event["s3"]["object"]["key"] for event in failed} == set(about), (name, way)
        # The log names the call and the object; an error that nobody foresaw would be logged with a traceback.
        lines = [line for line in printed().logs if line["message"] == "failed"]
        assert {(line["key"], line["error"].partition(":")[0]) for line in lines} == {
            (key, f"{name} for uploads/{key}") for key in about
        }
        pair.redeliver(failed)
        pair.is_right()


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_a_batch_killed_at_any_call_is_retried_and_ends_correct(service: Service, wire: Wire, after: bool) -> None:
    for pair, _, which in places(service, wire):
        with wire.watched(pair.red, pair.blue, plan=killing(which, after)), pytest.raises(Killed):
            service.invoke(pair.batch)

        pair.redeliver(pair.events)
        pair.is_right()


def test_an_object_that_is_deleted_before_any_call_ends_as_deleted(service: Service, wire: Wire) -> None:
    for pair, _, which in places(service, wire):

        def delete(_request: Any, send: Callable[[], Any], key: str = pair.red) -> Any:
            service.s3.delete_object(Bucket=BUCKET, Key=key)
            return send()

        with wire.watched(pair.red, pair.blue, plan=failing(which, delete, attempts=1)):
            # The deletion itself goes over the wire too, and is not part of the test.
            assert service.invoke(pair.batch) == DONE

        removal = record(pair.red, sequencer="0055AED6DCD90281E6", event_name="ObjectRemoved:Delete")
        assert service.invoke(sqs_batch(notification(removal))) == DONE
        rows = service.rows()
        assert (rows[pair.red]["status"], rows[pair.blue]["label"]) == ("DELETED", "blue")


def test_every_call_of_a_task_and_of_a_deletion_fails_once_too(service: Service, wire: Wire) -> None:
    def task(key: str) -> bool:
        (result,) = service.invoke(batch_job(key))["results"]
        assert result["resultCode"] in ("Succeeded", "TemporaryFailure")
        return bool(result["resultCode"] == "Succeeded")

    def deletion(key: str) -> bool:
        event = eventbridge_event(key, "Object Deleted", deletion="Permanently Deleted", sequencer=None)
        return service.invoke(sqs_batch(event)) == DONE

    for action, names, status in [
        (task, ["GetItem", *CALLS], "LABELLED"),
        (deletion, ["GetItem", "HeadObject", "PutItem"], "DELETED"),
    ]:
        for way, name in itertools.product(LASTING, names):
            key = f"{status} {way} {name}.png"
            if action is task:
                service.upload(key, encoded(plain(RED)), tags="owner=Ann")
            with wire.watched(key, plan=failing(only(name), LASTING[way], attempts=99)):
                assert not action(key), (way, name)
            assert action(key)
            assert service.rows()[key]["status"] == status


# ---- what does not pass -----------------------------------------------------------------------------------


def only(name: str) -> Callable[[Call], bool]:
    return lambda call: call.name == name


@pytest.mark.parametrize("name", ["GetObject", "PutItem", "HeadObject", "PutEvents"])
def test_a_permanent_failure_is_never_reported_as_done(service: Service, wire: Wire, name: str) -> None:
    red = service.upload("red.png", encoded(plain(RED)))
    most = load_template()["Resources"]["UploadsQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]

    for _ in range(most):
        labelled_before(service, "red.png")
        with wire.watched("red.png", plan=failing(only(name), WAYS["denied"], attempts=99)):
            answer = service.invoke(sqs_batch(notification(red)))
        assert answer == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}

    # The label is safe by then.
    assert service.rows()["red.png"]["label"] == ("red" if name in ("HeadObject", "PutEvents") else "blue")


def test_nothing_is_written_after_a_failed_read_of_the_tags(service: Service, wire: Wire) -> None:
    red = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")

    with wire.watched("red.png", plan=failing(only("GetObjectTagging"), WAYS["internal error"], attempts=99)):
        service.invoke(sqs_batch(notification(red)))

    assert [call.name for call in wire.calls] == ["GetObject", "GetObjectTagging"]
    assert service.tags("red.png") == {"owner": "Ann"}


@pytest.mark.parametrize("may_be_read", [True, False])
def test_tags_survive_though_getobject_does_not_send_their_number(
    service: Service, wire: Wire, may_be_read: bool
) -> None:
    """S3 leaves it out for an object whose tags may not be read. Some stores never send it."""
    # With the number, in the same bucket and process.
    service.invoke(sqs_batch(notification(service.upload("counted.png", encoded(plain(RED)), tags="owner=Bob"))))
    red = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")

    def plan(call: Call, attempt: int, request: Any, send: Callable[[], Any]) -> Any:
        if call.name == "GetObjectTagging" and not may_be_read:
            return WAYS["denied"](request, send)
        response = send()
        response.headers.pop("x-amz-tagging-count", None)
        return response

    with wire.watched("red.png", plan=plan):
        answer = service.invoke(sqs_batch(notification(red)))

    assert service.tags("red.png")["owner"] == "Ann"
    assert service.tags("red.png").get("image-label") == ("red" if may_be_read else None)
    assert bool(answer["batchItemFailures"]) is not may_be_read
    assert service.rows()["red.png"]["tagging"] == ("WRITTEN" if may_be_read else "DENIED")


@pytest.mark.parametrize("name", ["GetObjectTagging", "PutObjectTagging"])
def test_denied_tagging_is_in_the_row_and_the_message_is_retried(service: Service, wire: Wire, name: str) -> None:
    red = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")

    with wire.watched("red.png", plan=failing(only(name), WAYS["denied"], attempts=99)):
        response = service.invoke(sqs_batch(notification(red)))

    assert response == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
    assert (service.rows()["red.png"]["label"], service.rows()["red.png"]["tagging"]) == ("red", "DENIED")
    assert service.tags("red.png") == {"owner": "Ann"}
    assert [event["detail"]["tagging"] for event in service.published()] == ["DENIED"]


def test_an_event_that_eventbridge_refuses_retries_its_message_alone(
    service: Service, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(service)
    labeller = service.labeller()
    real = labeller.storage._events.put_events

    def refuse_red(Entries: list[dict[str, str]]) -> dict[str, Any]:
        # As EventBridge answers when it takes some (API reference, "PutEventsResultEntry").
        red = [pair.red in entry["Detail"] for entry in Entries]
        taken = [entry for entry, is_red in zip(Entries, red, strict=True) if not is_red]
        if taken:
            real(Entries=taken)
        failure = {"ErrorCode": "InternalFailure", "ErrorMessage": "not now"}
        return {"FailedEntryCount": sum(red), "Entries": [failure if is_red else {"EventId": "1"} for is_red in red]}

    with monkeypatch.context() as patched:
        patched.setattr(labeller.storage._events, "put_events", refuse_red)
        failed = pair.failed(service.invoke(pair.batch))

    assert failed == pair.events[:1]
    assert service.rows()[pair.red]["label"] == "red"
    pair.redeliver(failed)
    pair.is_right()


def test_the_other_objects_of_a_failing_message_are_labelled(service: Service, wire: Wire) -> None:
    pair = Pair(service)

    def is_red(call: Call) -> bool:
        return call.name == "PutItem" and call.about == (pair.red,)

    with wire.watched(pair.red, pair.blue, plan=failing(is_red, WAYS["denied"], attempts=99)):
        response = service.invoke(sqs_batch(notification(*pair.events)))

    assert response == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
    rows = service.rows()
    assert (rows[pair.red]["etag"], rows[pair.blue]["tagging"]) == ("of earlier content", "WRITTEN")


def test_a_failure_names_the_call_the_object_and_the_code(
    service: Service, wire: Wire, printed: Callable[[], Printed]
) -> None:
    red = service.upload("red.png", encoded(plain(RED)))

    with wire.watched("red.png", plan=failing(only("PutItem"), WAYS["denied"], attempts=99)):
        service.invoke(sqs_batch(notification(red)))

    (line,) = [line for line in printed().logs if line["message"] == "failed"]
    assert (line["level"], line["key"], line["delivery_id"]) == ("ERROR", "red.png", "message-0")
    assert "PutItem for uploads/red.png: AccessDeniedException" in line["error"]


# ---- time -------------------------------------------------------------------------------------------------


def test_a_hanging_call_ends_within_half_of_the_functions_timeout(
    service: Service, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    red = service.upload("red.png", encoded(plain(RED)))
    monkeypatch.setattr("random.random", lambda: 0.999999)  # botocore's jitter, at its longest
    with wire.watched("red.png", plan=failing(only("GetObject"), nothing(ReadTimeoutError), attempts=99)):
        service.invoke(sqs_batch(notification(red)))

    assert len(wire.attempts) == 3
    assert len(wire.slept) == 2
    connected = service.labeller().storage
    for client in (connected._s3, connected._dynamodb, connected._events):
        config = client.meta.config
        longest = len(wire.attempts) * (config.connect_timeout + config.read_timeout) + sum(wire.slept)
        assert longest < load_template()["Resources"]["ClassifyFunction"]["Properties"]["Timeout"] / 2
        # Each object in flight has a connection of its own; of the smallest objects the most are in flight.
        most = Settings.from_env({"RESULTS_TABLE": "t", "MAX_IMAGE_BYTES": "1"}).objects_in_flight
        assert config.max_pool_connections >= most


def test_a_slow_down_response_is_retried_after_a_pause(service: Service, wire: Wire) -> None:
    red = service.upload("red.png", encoded(plain(RED)))
    way: Way = answer("SlowDown", 503)

    with wire.watched("red.png", plan=failing(only("PutObjectTagging"), way, attempts=2)):
        assert service.invoke(sqs_batch(notification(red))) == DONE

    assert wire.attempts.count("PutObjectTagging") == 3
    assert len(wire.slept) == 2


# ---- what goes side by side -------------------------------------------------------------------------------


def test_the_result_event_is_published_during_the_second_check(service: Service, wire: Wire) -> None:
    red = service.upload("red.png", encoded(plain(RED)))
    labelled_before(service, "red.png")
    published = threading.Event()

    def plan(call: Call, _attempt: int, _request: Any, send: Callable[[], Any]) -> Any:
        if call.name == "PutEvents":
            published.set()
        if call.name == "HeadObject":
            assert published.wait(10), "it is published only after the second check"
        return send()

    with wire.watched("red.png", plan=plan):
        assert service.invoke(sqs_batch(notification(red))) == DONE
    assert [event["detail"]["label"] for event in service.published()] == ["red"]


def test_a_result_without_a_sequencer_waits_for_the_second_check(service: Service, wire: Wire) -> None:
    service.upload("k.png", encoded(plain(RED)))

    def replace(_request: Any, send: Callable[[], Any]) -> Any:
        service.s3.put_object(Bucket=BUCKET, Key="k.png", Body=encoded(plain(BLUE)))
        return send()

    with wire.watched("k.png", plan=failing(lambda call: (call.name, call.number) == ("HeadObject", 0), replace, 1)):
        (result,) = service.invoke(batch_job("k.png"))["results"]

    assert result["resultCode"] == "Succeeded"
    assert [event["detail"]["label"] for event in service.published()] == ["blue"]


def test_the_results_of_a_batch_are_published_in_one_call(
    service: Service, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{number}.png" for number in range(6)]
    batch = sqs_batch(*(notification(service.upload(key, encoded(plain(RED)))) for key in keys))
    monkeypatch.setattr("classify.publishing._LONGEST_WAIT", 60)  # on a slow machine, too

    with wire.watched(*keys):
        assert service.invoke(batch) == DONE
    assert len([call for call in wire.calls if call.name == "PutEvents"]) == 1
    assert {event["detail"]["key"] for event in service.published()} == set(keys)


def test_a_result_that_could_not_be_published_is_retried_although_the_object_was_replaced(
    service: Service, wire: Wire
) -> None:
    red = service.upload("k.png", encoded(plain(RED)))
    labelled_before(service, "k.png")

    def plan(call: Call, _attempt: int, request: Any, send: Callable[[], Any]) -> Any:
        if (call.name, call.number) == ("HeadObject", 0):
            service.s3.put_object(Bucket=BUCKET, Key="k.png", Body=encoded(plain(BLUE)))
        return WAYS["denied"](request, send) if (call.name, call.number) == ("PutEvents", 0) else send()

    with wire.watched("k.png", plan=plan):
        answer = service.invoke(sqs_batch(notification(red)))

    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
    assert service.invoke(sqs_batch(notification(red))) == DONE
    assert [event["detail"]["label"] for event in service.published()] == ["blue"]


def test_an_object_that_is_replaced_again_and_again_is_retried_later(
    service: Service, wire: Wire, printed: Callable[[], Printed]
) -> None:
    red = service.upload("k.png", encoded(plain(RED)))
    labelled_before(service, "k.png")
    contents = itertools.cycle([encoded(plain(BLUE)), encoded(plain(RED))])

    def plan(call: Call, _attempt: int, _request: Any, send: Callable[[], Any]) -> Any:
        if call.name == "HeadObject":
            service.s3.put_object(Bucket=BUCKET, Key="k.png", Body=next(contents))
        return send()

    with wire.watched("k.png", plan=plan):
        answer = service.invoke(sqs_batch(notification(red)))

    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
    assert [call.name for call in wire.calls if call.name != "PutObject"].count("GetObject") == 4
    (line,) = [line for line in printed().logs if line["message"] == "failed"]
    assert line["error"] == "uploads/k.png was replaced 4 times while it was being labelled; it will be retried"


def test_a_failed_second_check_still_finishes_publishing(service: Service, wire: Wire) -> None:
    red = service.upload("red.png", encoded(plain(RED)))
    labelled_before(service, "red.png")
    ended = threading.Event()

    def plan(call: Call, _attempt: int, request: Any, send: Callable[[], Any]) -> Any:
        if call.name == "HeadObject":
            return WAYS["denied"](request, send)
        if call.name == "PutEvents":
            time.sleep(0.2)  # the look has long failed
            ended.set()
        return send()

    with wire.watched("red.png", plan=plan):
        answer = service.invoke(sqs_batch(notification(red)))

    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
    assert ended.is_set()
