from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from labeller.observability import logger, metrics, report

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
    metrics.clear_metrics()  # of invocations that other tests interrupted
    yield stream
    metrics.clear_metrics()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_key_stays_within_its_line_and_is_logged_as_it_is(name: str, written: io.StringIO) -> None:
    key = HOSTILE[name]

    report("LABELLED", {"key": key, "label": "cats", "version": None}, {"fetch_ms": 1.5})

    (line,) = written.getvalue().splitlines()  # which splits at U+0085 and U+2028 too
    assert line.isprintable()
    content = json.loads(line)
    assert content["key"] == key
    assert (content["message"], content["label"], content["fetch_ms"]) == ("labelled", "cats", 1.5)
    assert "version" not in content


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
