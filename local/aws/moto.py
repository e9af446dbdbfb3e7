"""AWS on this machine: moto's server on a free port of 127.0.0.1, and an environment that leads to it alone.

    with local_aws() as aws:
        aws.client("s3").create_bucket(Bucket="pictures")

While the context is open, this process's environment holds what boto3 needs to find the server, and nothing
of the user's own AWS settings: every AWS_* variable is taken out, and ~/.aws is not read. Code that calls
`boto3.client("s3")` as it does in Lambda therefore works unchanged, here and in child processes. On
leaving, the environment is what it was.
"""

from __future__ import annotations

import http.client
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

# The runtime interface emulator puts this region into every function's ARN, so the rest agrees with it.
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class LocalAws:
    """A running local AWS: where it is, and the environment variables that lead a process to it."""

    endpoint: str  # http://127.0.0.1:PORT
    region: str
    environment: Mapping[str, str]
    session: boto3.session.Session

    def client(self, service: str) -> Any:
        """A boto3 client for `service`, such as "s3"."""
        connect: Any = self.session.client  # boto3-stubs knows it by one overload for each literal name
        return connect(service, region_name=self.region, endpoint_url=self.endpoint)


@contextmanager
def local_aws(region: str = REGION) -> Iterator[LocalAws]:
    """Start an empty local AWS and point this process at it; stop it and put the environment back at the end.

    Raises RuntimeError where one is open already: moto's state and the environment are the process's own.
    """
    if _open_endpoints:
        raise RuntimeError("a local AWS is open in this process already; two would share their buckets")
    from moto.server import ThreadedMotoServer  # here, for it takes seconds to import

    werkzeug = logging.getLogger("werkzeug")  # it logs every request
    level_before = werkzeug.level
    werkzeug.setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    variables = client_environment(endpoint, region)
    _open_endpoints.add(endpoint)
    try:
        with process_environment(variables, without_prefix="AWS_"):
            _forget_everything(host, port)
            yield LocalAws(endpoint, region, variables, boto3.session.Session(region_name=region))
    finally:
        _open_endpoints.discard(endpoint)
        server.stop()
        werkzeug.setLevel(level_before)


def client_environment(endpoint: str, region: str) -> dict[str, str]:
    """The variables that make any AWS SDK use `endpoint` and nothing else."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",  # moto takes any; SDKs want one to sign with
        "AWS_SESSION_TOKEN": "local",
        # The user's profiles hold real accounts, and may name endpoints of their own.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",  # credentials are never asked of 169.254.169.254
        # A proxy of the user's could not reach this machine's loopback.
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


@contextmanager
def process_environment(variables: Mapping[str, str], without_prefix: str | None = None) -> Iterator[None]:
    """Add `variables` to os.environ, for the time of the context.

    `without_prefix`: variables whose names begin so are taken out first. boto3's default session is dropped
    at both ends, because it remembers what it found in the environment.
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


def _forget_everything(host: str, port: int) -> None:
    """moto keeps its state in module globals: an earlier context's buckets would still be there."""
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
    finally:
        connection.close()


_open_endpoints: set[str] = set()
