"""The page's server. It listens on loopback, and answers nobody but the page that it has served.

Another page in the same browser, another user of this machine and a name that resolves to 127.0.0.1 (DNS rebinding)
could all reach the port. So every path begins with a secret token, `Host` must be loopback, and what writes needs the
page's own `Origin` and JSON. A link from elsewhere opens the page and nothing else. The policy lets the page load its
own files alone, and run no script that is in its text.
"""

from __future__ import annotations

import hmac
import itertools
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from labeller.aws_errors import AwsFailure, Gone
from labeller.images import Unreadable
from labeller.manifest import ModelError
from labeller.results import OTHER
from ops.cli import error_message
from ops.review.desk import Desk, NotFound, Opened

HERE = Path(__file__).parent
PAGE = 24  # pictures of a reply, and of the grid
_KEPT = 50  # opened queues; the oldest is forgotten, and its page opens it again
_LONGEST_BODY = 10_000  # bytes

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address has the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Endpoint = Callable[[Request], Awaitable[Response]]


class Guard:
    """Refuses requests that do not come from the page. ASGI middleware."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 403, or pass the request on and add the headers to its answer."""
        if scope["type"] != "http":
            return
        request = Request(scope)

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in extra if pair[0] not in given)]
            await send(message)

        app = self._app if self._is_ours(request) else PlainTextResponse("not for you", 403)
        await app(scope, receive, send_guarded)

    def _is_ours(self, request: Request) -> bool:
        host = request.headers.get("host", "")
        token = request.url.path.split("/")[1]
        if host.rpartition(":")[0] not in ("127.0.0.1", "localhost") or not hmac.compare_digest(
            token.encode(), self._token.encode()
        ):
            return False
        if request.method in ("GET", "HEAD"):
            if request.headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
                return True
            is_opened = request.headers.get("sec-fetch-dest") == "document"
            return is_opened and request.url.path == f"/{self._token}/"
        return (
            request.headers.get("origin") == f"http://{host}"
            and request.headers.get("content-type") == "application/json"
        )


def make_app(desk: Desk, token: str = "") -> tuple[Any, str]:
    """The ASGI application for a desk, and the token that its paths begin with: /TOKEN/."""
    token = token or secrets.token_urlsafe(24)
    page = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True).get_template("page.html")
    api = Api(desk)
    routes = [
        Route("/", _page(page, desk)),
        Mount("/static", StaticFiles(directory=HERE / "static")),
        Route("/api/queue", _safely(api.queue)),
        Route("/api/more", _safely(api.more)),
        Route("/api/picture", _safely(api.picture)),
        Route("/api/why", _safely(api.why)),
        Route("/api/training", _safely(api.training)),
        Route("/api/answer", _safely(api.answer), methods=["POST"]),
        Route("/api/undo", _safely(api.undo), methods=["POST"]),
    ]
    return Guard(Starlette(routes=[Mount(f"/{token}", routes=routes)]), token), token


def _page(template: Any, desk: Desk) -> Endpoint:
    async def page(_: Request) -> Response:
        return HTMLResponse(
            template.render(
                title=desk.title,
                model=desk.model,
                labels=[*desk.labels, OTHER],
                days=desk.days,
                queues=desk.queues(),
                page=PAGE,
            )
        )

    return page


class Api:
    """The requests of the page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._opened: dict[str, Opened] = {}
        self._numbers = itertools.count(1)

    async def queue(self, request: Request) -> Response:
        """Open a queue, and its first pictures."""
        opened = await self._desk.open(request.query_params.get("name", ""), request.query_params.get("day", ""))
        number = str(next(self._numbers))
        self._opened[number] = opened
        while len(self._opened) > _KEPT:
            del self._opened[next(iter(self._opened))]
        items, after = await opened.items(0, PAGE)
        return JSONResponse(
            {
                "opened": number,
                "total": opened.total,
                "after": after,
                "items": [asdict(item) for item in items],
                "figures": opened.figures(),
            }
        )

    async def more(self, request: Request) -> Response:
        """The next pictures of an opened queue."""
        opened = self._opened.get(request.query_params.get("opened", ""))
        position = request.query_params.get("after", "")
        if opened is None or not position.isdecimal():
            raise NotFound("this queue is no longer open: load the page again")
        items, after = await opened.items(int(position), PAGE)
        return JSONResponse({"after": after, "items": [asdict(item) for item in items]})

    async def picture(self, request: Request) -> Response:
        """A picture, always as JPEG."""
        return _kept(await self._desk.picture(request.query_params.get("id", "")), "image/jpeg")

    async def why(self, request: Request) -> Response:
        """What speaks for a label, as PNG."""
        query = request.query_params
        return _kept(await self._desk.why(query.get("id", ""), query.get("label", "")), "image/png")

    async def training(self, request: Request) -> Response:
        """A training picture."""
        return _kept(await self._desk.training_picture(request.query_params.get("path", "")), "image/jpeg")

    async def answer(self, request: Request) -> Response:
        """Take an answer."""
        body = await _json(request, "id", "label", "queue", "opened")
        said = await self._desk.answer(body["id"], body["label"], body["queue"])
        return self._noted(body, said, body["label"])

    async def undo(self, request: Request) -> Response:
        """Take an answer back."""
        body = await _json(request, "id", "at", "opened")
        return self._noted(body, await self._desk.undo(body["id"], body["at"]), None)

    def _noted(self, body: dict[str, str], said: Any, label: str | None) -> Response:
        opened = self._opened.get(body["opened"])
        if opened and said["answer"] in ("ACCEPTED", "UNTAGGED"):
            opened.note(body["id"], label)
        return JSONResponse({**said, "figures": opened.figures() if opened else ""})


def _kept(content: bytes, media_type: str) -> Response:
    """A picture that the browser keeps: an id holds the content's ETag, so that it never changes."""
    return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=3600, immutable"})


async def _json(request: Request, *names: str) -> dict[str, str]:
    """The named members of the body, all texts. Raises NotFound."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _LONGEST_BODY:
            raise NotFound("the request is too long")
    try:
        body = json.loads(content)
        return {name: str(body[name]) for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise NotFound("the request is not one of the page") from error


def _safely(endpoint: Endpoint) -> Endpoint:
    """`endpoint`, with errors as an answer that the page shows."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (NotFound, Gone, ModelError) as error:
            return PlainTextResponse(str(error), 404)
        except Unreadable as error:
            return PlainTextResponse(str(error), 415)
        except (AwsFailure, OSError) as error:
            return PlainTextResponse(error_message(error), 503)

    return answer
