"""What may happen to a request on its way to AWS, below botocore, whose own retries are the real ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse


class Killed(BaseException):
    """The process ends here: no handler of exceptions sees this."""


@dataclass(frozen=True)
class Call:
    """One call to AWS, its repetitions by botocore included."""

    name: str
    about: tuple[str, ...]  # keys of the objects
    number: int  # counts the calls of this name about these objects


# How one attempt fares: given the request and a function that really sends it, what botocore gets to see.
Way = Callable[[Any, Callable[[], Any]], Any]


def answer(code: str, status: int, json_code: str | None = None) -> Way:
    """AWS answers with an error; `json_code` is what services that speak JSON call it."""

    def way(request: Any, _send: Callable[[], Any]) -> Any:
        speaks_json = "x-amz-target" in {name.lower() for name in request.headers}
        if speaks_json:
            body = json.dumps({"__type": json_code or code, "message": "not now"})
        else:
            body = "" if request.method == "HEAD" else f"<Error><Code>{code}</Code><Message>not now</Message></Error>"
        status_now = 400 if speaks_json and status < 500 else status
        return AWSResponse(request.url, status_now, {"Content-Length": str(len(body))}, MockRawResponse(body))

    return way


def nothing(error: type[Exception]) -> Way:
    """The request never arrives."""

    def way(request: Any, _send: Callable[[], Any]) -> Any:
        raise error(endpoint_url=request.url)

    return way


def lost(request: Any, send: Callable[[], Any]) -> Any:
    """The request is carried out, and the answer gets lost."""
    send()
    raise ConnectionClosedError(endpoint_url=request.url)


def torn(request: Any, send: Callable[[], Any]) -> Any:
    """The connection breaks in the middle of the body."""
    whole = send()
    if request.method != "GET" or "tagging" in request.url:
        raise ConnectionClosedError(endpoint_url=request.url)
    return AWSResponse(request.url, 200, whole.headers, MockRawResponse(whole.content[: len(whole.content) // 2]))


PASSING: dict[str, Way] = {
    "throttled": answer("SlowDown", 503, "ThrottlingException"),
    "internal error": answer("InternalError", 500),
    "unavailable": answer("ServiceUnavailable", 503),
    "read timeout": nothing(ReadTimeoutError),
    "connect timeout": nothing(ConnectTimeoutError),
    "connection reset": nothing(ConnectionClosedError),
    "answer lost": lost,
}
"""What botocore tries again by itself."""

LASTING: dict[str, Way] = {
    "denied": answer("AccessDenied", 403, "AccessDeniedException"),
    "not of this world": answer("NobodyKnowsWhy", 418),
    "torn": torn,
}
"""What it does not, or not always."""


class Wire:
    """Counts calls, and lets the attempts of one of them fail. Only what happens within `watched` counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept: list[float] = []
        self.calls: list[Call] = []
        self.attempts: list[str] = []
        self._known: dict[str, Call] = {}  # by botocore's id of the call
        self._plan: Callable[[Call, int, Any, Callable[[], Any]], Any] | None = None
        self._lock = threading.Lock()
        self._keys: tuple[str, ...] = ()
        real = BotocoreStubber.__call__

        def call(stub: BotocoreStubber, event_name: str, request: Any, **kwargs: Any) -> Any:
            def send() -> Any:
                return real(stub, event_name, request, **kwargs)

            if self._plan is None:
                return send()
            made, attempt = self._identify(event_name, request)
            return self._plan(made, attempt, request, send)

        monkeypatch.setattr(BotocoreStubber, "__call__", call)
        monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=self.slept.append))

    def _identify(self, event_name: str, request: Any) -> tuple[Call, int]:
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        name = event_name.rpartition(".")[2]
        attempt = int(headers["amz-sdk-request"].partition("attempt=")[2].partition(";")[0])
        about = unquote(request.url) + _text(request.body or "")
        with self._lock:
            self.attempts.append(name)
            identity = headers["amz-sdk-invocation-id"]
            if identity not in self._known:
                keys = tuple(key for key in self._keys if key in about)
                number = sum((call.name, call.about) == (name, keys) for call in self.calls)
                self._known[identity] = Call(name, keys, number)
                self.calls.append(self._known[identity])
            return self._known[identity], attempt

    @contextmanager
    def watched(self, *keys: str, plan: Any = None) -> Iterator[None]:
        """Identify calls by these keys, and let `plan(call, attempt, request, send)` decide how they fare."""
        self.calls, self.attempts, self._known, self._keys = [], [], {}, keys
        self._plan = plan or (lambda _call, _attempt, _request, send: send())
        try:
            yield
        finally:
            self._plan = None


def failing(which: Callable[[Call], bool], way: Way, attempts: int) -> Any:
    """A plan: of the calls that `which` picks, the first attempts fare badly."""

    def plan(call: Call, attempt: int, request: Any, send: Callable[[], Any]) -> Any:
        return way(request, send) if which(call) and attempt <= attempts else send()

    return plan


def killing(which: Callable[[Call], bool], after: bool) -> Any:
    """A plan: the process is killed before or after one call, and no thread of it makes another."""
    dead = threading.Event()

    def plan(call: Call, _attempt: int, _request: Any, send: Callable[[], Any]) -> Any:
        if dead.is_set():
            raise Killed
        if which(call):
            if after:
                send()
            dead.set()
            raise Killed
        return send()

    return plan


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
