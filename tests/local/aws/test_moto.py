from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from local.aws.moto import local_aws

NOWHERE = "http://192.0.2.1:9"  # RFC 5737: reserved for documentation, so nothing listens there


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user with an AWS profile, endpoints and a proxy."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        f"[default]\nregion = eu-north-1\nendpoint_url = {NOWHERE}\n"
        f"[profile production]\nregion = eu-north-1\nendpoint_url = {NOWHERE}\n"
    )
    keys = "aws_access_key_id = REALKEY\naws_secret_access_key = real\n"
    (tmp_path / ".aws" / "credentials").write_text(f"[default]\n{keys}[production]\n{keys}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", NOWHERE)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    monkeypatch.setenv("http_proxy", NOWHERE)
    return tmp_path


def test_without_the_local_aws_that_profile_would_be_used(user: Path) -> None:
    credentials = boto3.session.Session().get_credentials()
    assert credentials is not None
    assert credentials.access_key == "REALKEY"


def test_the_users_profile_is_never_used(user: Path) -> None:
    with local_aws() as aws:
        session = boto3.session.Session()
        assert session.get_credentials().access_key == "local"
        assert session.available_profiles == []
        assert session.region_name == "us-east-1"
        for client in (aws.client("s3"), boto3.client("s3"), boto3.client("dynamodb")):
            assert client.meta.endpoint_url == aws.endpoint
        boto3.client("s3").create_bucket(Bucket="pictures")
        assert [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]] == ["pictures"]


def test_the_users_profile_is_never_used_by_a_child_process_either(user: Path) -> None:
    code = (
        "import boto3; session = boto3.Session(); "
        "print(session.get_credentials().access_key, session.client('s3').meta.endpoint_url)"
    )
    with local_aws() as aws:
        environment = {"PATH": os.environ["PATH"], "HOME": str(user)} | dict(aws.environment)
        output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert output.stdout.split() == ["local", aws.endpoint]


def test_a_client_made_after_the_environment_is_back_is_of_the_local_aws_too() -> None:
    with local_aws() as aws:
        pass
    assert aws.client("s3").meta.endpoint_url == aws.endpoint
    assert aws.resource("dynamodb").meta.client.meta.endpoint_url == aws.endpoint


def test_afterwards_the_environment_is_what_it_was(user: Path) -> None:
    before = dict(os.environ)
    with local_aws():
        assert dict(os.environ) != before
    assert dict(os.environ) == before
    with pytest.raises(ZeroDivisionError), local_aws():
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_every_connection_is_to_loopback(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = set()
    connect = socket.socket.connect

    def record(self: socket.socket, address: tuple[str, int]) -> None:
        reached.add(address[0])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", record)
    with local_aws():
        boto3.client("s3").create_bucket(Bucket="pictures")
        boto3.client("s3").put_object(Bucket="pictures", Key="a b.jpg", Body=b"1")
        boto3.client("sqs").create_queue(QueueName="events")
        boto3.client("dynamodb").list_tables()
        boto3.client("cloudformation").list_stacks()
    assert reached == {"127.0.0.1"}


def test_a_local_aws_begins_empty() -> None:
    with local_aws() as aws:
        aws.client("s3").create_bucket(Bucket="pictures")
    with local_aws() as aws:
        assert aws.client("s3").list_buckets()["Buckets"] == []


def test_a_second_local_aws_is_refused_while_one_is_open() -> None:
    with local_aws(), pytest.raises(RuntimeError, match="open in this process already"), local_aws():
        pass
