"""Other implementations of AWS than moto: `make test-services` runs the tests of the calls to AWS against each.

    pytest --service ministack tests/labeller/test_storage.py ...

With the option, the fixture `moto` gives a test an empty AWS of that implementation, and tests without the fixture are
not run. What an implementation cannot do is in tests/services.toml with the reason; such a test must fail.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import pytest

from tests.support import ROOT

GAPS: dict[str, dict[str, str]] = tomllib.loads((ROOT / "tests/services.toml").read_text("utf-8"))
START = 120  # seconds that a server may take until it listens
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@dataclass(frozen=True)
class Server:
    """A program that listens on a port of 127.0.0.1, and the AWS services for which it is taken."""

    command: Callable[[int], list[str]]
    environment: Callable[[int], dict[str, str]]
    services: tuple[str, ...] = ("s3", "dynamodb", "sqs", "events")


MOTO = Server(lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], lambda _: {})
SERVERS = {
    "ministack": Server(
        lambda _: [str(ROOT / ".venv-ministack/bin/ministack")],
        lambda port: {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0"},
    ),
    # Its DynamoDB is Amazon's, in Java, which it downloads at its first use; so DynamoDB is moto's here.
    "localstack": Server(
        lambda _: [str(ROOT / ".venv-localstack/bin/python"), "-m", "localstack.runtime.main"],
        lambda port: {
            "GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "GATEWAY_SERVER": "hypercorn",  # the default, twisted, listens on every address
            "DNS_ADDRESS": "0",
            "SERVICES": "s3,sqs,events",
            "DISABLE_EVENTS": "1",  # no reports to LocalStack's makers
        },
        ("s3", "sqs", "events"),
    ),
    "dynalite": Server(
        lambda port: [str(ROOT / ".venv-dynalite/node_modules/.bin/dynalite"), "--host", "127.0.0.1",
                      "--port", str(port), "--createTableMs", "0", "--deleteTableMs", "0"],
        lambda _: {},
        ("dynamodb",),
    ),
}  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--service", choices=sorted(SERVERS), help="run against this implementation of AWS, not moto")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only tests of the fixture `moto`; those that must fail are marked."""
    if not (name := config.getoption("service")):
        return
    chosen = [item for item in items if "moto" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    for item in items:
        if reason := GAPS.get(name, {}).get(item.nodeid.partition("::")[2]):
            item.add_marker(pytest.mark.xfail(reason=f"{name}: {reason}", strict=True))


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Iterator[dict[str, str] | None]:
    """The endpoints as the AWS SDKs' variables, such as AWS_ENDPOINT_URL_S3; None without the option."""
    name = request.config.getoption("service")
    if not name:
        yield None
        return
    with running(SERVERS[name]) as endpoint, running(MOTO) as rest:
        endpoints = {service: endpoint if service in SERVERS[name].services else rest for service in MOTO.services}
        yield {f"AWS_ENDPOINT_URL_{service.upper()}": url for service, url in endpoints.items()} | {
            "AWS_ENDPOINT_URL_EVENTBRIDGE": endpoints["events"]
        }


@contextmanager
def running(server: Server) -> Iterator[str]:
    """The endpoint of a server that is started and ended here."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = ROOT / "build" / "services.log"
    log.parent.mkdir(exist_ok=True)
    environment = {**os.environ, **CREDENTIALS, **server.environment(port)}
    with (
        log.open("ab") as output,
        # LocalStack removes <temporary folder>/localstack when it ends, which may be in use by another one.
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            server.command(port), env=environment | {"TMPDIR": folder}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            _wait_until_it_listens(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server does not listen; see {log}")


def empty() -> None:
    """Delete all buckets, tables, queues and rules: each test has an AWS of its own."""
    s3, dynamodb, sqs, events = (boto3.client(name) for name in MOTO.services)  # type: ignore[call-overload]
    for bucket in s3.list_buckets()["Buckets"]:
        _delete_bucket(s3, bucket["Name"])
    for table in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=table)
        dynamodb.get_waiter("table_not_exists").wait(TableName=table, WaiterConfig={"Delay": 0})
    for queue in sqs.list_queues().get("QueueUrls", []):
        sqs.delete_queue(QueueUrl=queue)
    for rule in events.list_rules()["Rules"]:
        targets = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        if targets:
            events.remove_targets(Rule=rule["Name"], Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=rule["Name"])


def _delete_bucket(s3: Any, bucket: str) -> None:
    listed = s3.list_object_versions(Bucket=bucket)
    for entry in [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]:
        s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=entry["Key"])
    s3.delete_bucket(Bucket=bucket)
