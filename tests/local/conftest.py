"""The stack of template.yaml, deployed once for each test module, and a Python of the function's runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.aws import LocalAws, local_aws
from local.errors import LocalError
from local.runtime import emulator_program
from local.runtime_python import ensure_runtime, find_runtime_python
from local.stack import Stack, deploy


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with local_aws() as running:
        yield running


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Stack:
    return deploy(aws)


@pytest.fixture(scope="session")
def python() -> Path:
    """A Python 3.13 with AWS's runtime client; tests that need it are skipped where there can be none."""
    try:
        emulator_program()
        return ensure_runtime(find_runtime_python("3.13"))
    except LocalError as error:
        pytest.skip(str(error))
