from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.httpsession import get_cert_path

from bench.canned_aws import CannedAws
from labeller.aws_errors import AwsFailure
from labeller.events import ObjectRef
from labeller.storage import connect

REF = ObjectRef("uploads", "0.jpg", None, "01")


@pytest.fixture(scope="module")
def aws() -> Iterator[CannedAws]:
    with CannedAws([b"picture"], delay=0, tls=True) as server:
        yield server


@pytest.fixture(autouse=True)
def _environment(aws: CannedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)


def test_the_file_of_authorities_is_read_once_for_all_connections(
    aws: CannedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(Path(aws.environment["AWS_CA_BUNDLE"]).read_bytes())
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authorities))
    storage = connect("results")
    authorities.unlink()  # whoever reads it now fails

    assert storage.fetch(REF, 100).data == b"picture"
    assert storage.put_row(REF, {"object": "uploads/0.jpg", "version": "null", "sequencer": "01"})
    assert storage.put_events([{"bucket": "uploads", "key": "0.jpg"}]) == [None]


def test_a_server_that_no_authority_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", get_cert_path(True))  # not the bench's own
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))  # between its retries

    with pytest.raises(AwsFailure, match="certificate verify failed"):
        connect("results").fetch(REF, 100)
