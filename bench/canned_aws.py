"""S3, DynamoDB and EventBridge for classify's calls, in a process of its own, over TLS or without.

Answers are made beforehand and sent after a delay, so that the machine's load is the function's. Nothing is checked or
stored: this is for speed; tests on moto are for correctness. With TLS, the function trusts botocore's certificate
authorities and this server, so that it reads as many authorities as in Lambda.
"""

import asyncio
import multiprocessing
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path

from bench.certificate import write_certificate

Certificate = tuple[Path, Path]
"""Files of a certificate and its key."""

FIRST_BYTE = 0.020  # seconds; S3's median for small objects, from a function in the same region


def _answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


_NO_TAGS = _answer(b'<?xml version="1.0"?><Tagging><TagSet></TagSet></Tagging>', Content_Type="application/xml")
_DONE = _answer()
_ROW = _answer(b"{}", Content_Type="application/x-amz-json-1.0")
_JSON = "application/x-amz-json-1.1"


def _events(body: bytes) -> bytes:
    entries = b",".join([b'{"EventId":"1"}'] * body.count(b'"DetailType"'))
    return _answer(b'{"FailedEntryCount":0,"Entries":[' + entries + b"]}", Content_Type=_JSON)


class _Connection(asyncio.Protocol):
    """One kept-alive connection; botocore sends one request after the other."""

    def __init__(self, objects: Sequence[bytes], delay: float) -> None:
        self._gets = [_answer(data, ETag=f'"{number:032x}"') for number, data in enumerate(objects)]
        self._heads = [_answer(ETag=f'"{number:032x}"') for number in range(len(objects))]
        self._delay = delay
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if end and len(body) >= int(length or 0):
            self._received = b""
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, self._respond(head, body))

    def _respond(self, head: bytes, body: bytes) -> bytes:
        method, target = head.split(b" ", 2)[:2]
        lower = head.lower()
        if b"x-amz-target: awsevents" in lower:
            return _events(body)
        if b"x-amz-target: dynamodb" in lower:
            return _ROW
        if b"?tagging" in target:
            return _NO_TAGS if method == b"GET" else _DONE
        number = int(urlsplit(target).path.rpartition(b"/")[2].split(b".")[0]) % len(self._gets)
        return (self._heads if method == b"HEAD" else self._gets)[number]


@dataclass
class CannedAws:
    """The server in its process; a context manager. Every key `<number>.<suffix>` of any bucket is objects[number]."""

    objects: Sequence[bytes]
    delay: float = FIRST_BYTE
    tls: bool = False
    url: str = field(default="", init=False)

    def __enter__(self) -> Self:
        spawn = multiprocessing.get_context("spawn")  # without this process's memory and threads
        self._pipe, theirs = spawn.Pipe()
        self._folder = tempfile.TemporaryDirectory()
        self._authorities = Path(self._folder.name) / "authorities.pem"
        certificate = None
        if self.tls:
            certificate = write_certificate(Path(self._folder.name))
            self._authorities.write_bytes(Path(str(get_cert_path(True))).read_bytes() + certificate[0].read_bytes())
        arguments = (self.objects, self.delay, certificate, theirs)
        self._process = spawn.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        self.url = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._folder.cleanup()

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that direct boto3 here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            **({"AWS_CA_BUNDLE": str(self._authorities)} if self.tls else {}),
        }

    def cpu_seconds(self) -> float:
        """Processor time of the server so far."""
        return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[0]) / 1e9  # it has one thread


def _serve(objects: Sequence[bytes], delay: float, certificate: Certificate | None, pipe: Connection) -> None:
    asyncio.run(_listen(objects, delay, certificate, pipe))


async def _listen(objects: Sequence[bytes], delay: float, certificate: Certificate | None, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    server = await loop.create_server(lambda: _Connection(objects, delay), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    pipe.send(f"https://localhost:{port}" if context else f"http://127.0.0.1:{port}")

    parent_ended = asyncio.Event()
    loop.add_reader(pipe.fileno(), parent_ended.set)  # readable means closed: the parent sends nothing
    await parent_ended.wait()
    server.close()
