"""The classify function in this process."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from local.classify import classify_handler
from tests.support import write_model


def test_each_stack_has_clients_and_model_of_its_own(tmp_path: Path) -> None:
    from classify.app import get_labeller

    endpoints = []
    for number in (1, 2):
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{number}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "RESULTS_TABLE": "results",
            "MODEL_DIR": str(write_model(tmp_path / str(number))),
        }
        function = SimpleNamespace(local_environment=lambda _, environment=environment: environment)
        stack: Any = SimpleNamespace(function=function)
        with (tmp_path / "log").open("w") as log, classify_handler(stack, tmp_path, log):
            endpoints.append(get_labeller().storage._s3.meta.endpoint_url)
    assert endpoints == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert get_labeller.cache_info().currsize == 0
