"""AWS on this machine: moto's server on 127.0.0.1.

    with local_aws() as aws:
        aws.client("s3").create_bucket(Bucket="pictures")

Inside the context, the environment of this process points boto3 to the server and to nothing else: the user's AWS_*
variables are removed and ~/.aws is not read. Code that calls `boto3.client("s3")`, as it does in Lambda, works
unchanged, here and in child processes. Leaving the context restores the environment.
"""

import http.client
import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Self

import boto3

from ops.cli import CommandError

REGION = "us-east-1"  # the runtime interface emulator puts it into every function's ARN
LOOPBACK = "127.0.0.1"
_open = threading.Lock()  # moto's state and the environment belong to the process


class LocalAws(boto3.session.Session):
    """A boto3 session for a running local AWS, and the environment variables that lead a process to it."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(region_name=REGION)
        self.endpoint = endpoint  # http://127.0.0.1:PORT
        self.environment = client_environment(endpoint)

    @classmethod
    def running(cls) -> Self:
        """The local AWS that the environment leads to: that of another process."""
        return cls(os.environ["AWS_ENDPOINT_URL"])

    if not TYPE_CHECKING:  # boto3-stubs has the types

        def client(self, *arguments, **options):
            """As boto3's, for the local AWS alone, even if it is made after the environment was restored."""
            options["endpoint_url"] = options.get("endpoint_url") or self.endpoint  # `resource` passes None
            return super().client(*arguments, **options)


@contextmanager
def local_aws(port: int = 0) -> Iterator[LocalAws]:
    """Start an empty local AWS on `port`, by default a free one, and point this process to it.

    Raises RuntimeError if one is open in this process, CommandError if the port is taken.
    """
    if not _open.acquire(blocking=False):
        raise RuntimeError("a local AWS is open in this process already; two would share their buckets")
    try:
        _require_free(port)
        from moto.server import ThreadedMotoServer  # takes seconds to import

        from local.aws import move_tasks, s3_events
    except BaseException:
        _open.release()
        raise
    move_tasks.add_to_moto()
    s3_events.add_to_moto()
    werkzeug = logging.getLogger("werkzeug")  # it logs every request
    level_before = werkzeug.level
    werkzeug.setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        with process_environment(client_environment(endpoint), without_prefix="AWS_"):
            _reset(host, port)
            yield LocalAws(endpoint)
    finally:
        server.stop()
        werkzeug.setLevel(level_before)
        _open.release()


def client_environment(endpoint: str) -> dict[str, str]:
    """The variables that make every AWS SDK use `endpoint` and nothing else."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",  # moto accepts any credentials; SDKs need some to sign with
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_SESSION_TOKEN": "local",
        "AWS_CONFIG_FILE": os.devnull,  # the user's profiles may name endpoints of their own
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",  # no request for credentials to 169.254.169.254
        "NO_PROXY": "*",  # a proxy cannot reach this machine's loopback
        "no_proxy": "*",
    }


@contextmanager
def process_environment(variables: Mapping[str, str], without_prefix: str | None = None) -> Iterator[None]:
    """Add `variables` to os.environ inside the context, after removing the names that begin with `without_prefix`.

    boto3's default session is dropped on entry and on exit, because it remembers the environment.
    """
    before = dict(os.environ)
    if without_prefix is not None:
        for name in [name for name in os.environ if name.startswith(without_prefix)]:
            del os.environ[name]
    os.environ.update(variables)
    boto3.DEFAULT_SESSION = None
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        boto3.DEFAULT_SESSION = None


def _require_free(port: int) -> None:
    """Raise CommandError if another program listens on `port`: moto's server would wait for it without end."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError as error:
            raise CommandError(f"port {port} cannot be used: {error.strerror}. Choose another: PORT=") from error


def _reset(host: str, port: int) -> None:
    """Empty moto, which keeps its state in module globals: buckets of an earlier context would still exist."""
    with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
