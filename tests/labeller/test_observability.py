from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeller.observability import logger, metrics, report, stage, to_json
from labeller.tracing import send_subsegment

HOSTILE = {
    "a new line": 'a.png\n{"level":"INFO","message":"labelled","key":"forged.png"}',
    "a carriage return": "a\r\x1b[2Kb.png",
    "a control character of Latin 1": "a\x85\x9b31mb.png",
    "line separators": "a\u2028b\u2029c.png",
    "text that runs backwards": "a\u202egnp.exe",
    "an invisible space": "a\u200b.png",
    "a byte order mark": "\ufeffa.png",
    "half a surrogate pair": "a\ud800b.png",
    "quotes and backslashes": '"\\"",',
    "as long as S3 allows": "ä" * 512,
}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    yield stream
    metrics.clear_metrics()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_key_stays_within_its_line_and_is_told_as_it_is(name: str, written: io.StringIO) -> None:
    key = HOSTILE[name]

    report("LABELLED", {"key": key, "label": "cats", "version": None}, {"fetch_ms": 1.5})

    (line,) = written.getvalue().splitlines()  # which splits at U+0085 and U+2028 too
    assert line.isprintable()
    content = json.loads(line)
    assert content["key"] == key
    assert (content["message"], content["label"], content["fetch_ms"]) == ("labelled", "cats", 1.5)
    assert "version" not in content


@given(st.text())
def test_whatever_the_text_it_is_one_line_of_json_that_says_the_same(text: str) -> None:
    line = to_json({"key": text})

    assert len(line.splitlines()) == 1
    assert json.loads(line) == {"key": text}


def test_letters_of_all_scripts_stay_legible() -> None:
    assert "写真/ねこ.jpg" in to_json({"key": "写真/ねこ.jpg"})


def test_each_object_is_counted_and_its_stages_are_timed_without_its_name(written: io.StringIO) -> None:
    report("UNREADABLE", {"key": "secret.png", "reason": "CORRUPT"}, {"fetch_ms": 12.0, "decode_ms": 3.5})

    emitted = metrics.serialize_metric_set()

    declared = emitted["_aws"]["CloudWatchMetrics"][0]
    assert {(metric["Name"], metric["Unit"]) for metric in declared["Metrics"]} == {
        ("Unreadable", "Count"),
        ("FetchMs", "Milliseconds"),
        ("DecodeMs", "Milliseconds"),
    }
    assert declared["Dimensions"] == [["service"]]
    assert (emitted["Unreadable"], emitted["FetchMs"], emitted["DecodeMs"]) == ([1.0], [12.0], [3.5])
    assert "secret" not in json.dumps(emitted)


def test_a_stage_that_is_passed_twice_takes_the_sum_of_both_and_counts_when_it_fails() -> None:
    durations: dict[str, float] = {"write_ms": 1000.0}

    with pytest.raises(KeyError), stage("write", durations):
        raise KeyError

    assert 1000.0 <= durations["write_ms"] < 1100.0


# ---- traces -----------------------------------------------------------------------------------------------

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=557abcec3ee5a047;Sampled=1"


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(2)
        yield listening


def environment(daemon: socket.socket, trace: str = TRACE) -> dict[str, str]:
    return {"_X_AMZN_TRACE_ID": trace, "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{daemon.getsockname()[1]}"}


def test_a_subsegment_goes_to_the_daemon_as_a_part_of_the_invocation(daemon: socket.socket) -> None:
    send_subsegment(environment(daemon), "object", 1700000000.5, 1700000001.25, {"key": "a.png"})

    header, _, body = daemon.recv(65536).partition(b"\n")
    subsegment = json.loads(body)
    assert json.loads(header) == {"format": "json", "version": 1}
    assert len(bytes.fromhex(subsegment.pop("id"))) == 8
    assert subsegment == {
        "type": "subsegment",
        "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
        "parent_id": "557abcec3ee5a047",
        "name": "object",
        "start_time": 1700000000.5,
        "end_time": 1700000001.25,
        "metadata": {"default": {"key": "a.png"}},
    }


@pytest.mark.parametrize("trace", ["", TRACE.replace("Sampled=1", "Sampled=0"), "Root=1;Sampled=1", "nonsense"])
def test_what_is_not_traced_sends_nothing(daemon: socket.socket, trace: str) -> None:
    send_subsegment(environment(daemon, trace), "object", 1.0, 2.0, {})

    daemon.setblocking(False)
    with pytest.raises(BlockingIOError):
        daemon.recv(1)


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:none", "127.0.0.1:99999999"])
def test_without_a_daemon_nothing_happens(address: str) -> None:
    send_subsegment({"_X_AMZN_TRACE_ID": TRACE, "AWS_XRAY_DAEMON_ADDRESS": address}, "object", 1.0, 2.0, {})


def test_a_subsegment_too_large_for_a_datagram_is_lost_and_harms_nobody(daemon: socket.socket) -> None:
    send_subsegment(environment(daemon), "object", 1.0, 2.0, {"key": "a" * 100_000})
