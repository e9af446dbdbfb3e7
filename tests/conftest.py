"""Fixtures of all tests. Nothing reaches AWS: the credentials are dummies, and unit tests may open no socket."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import hypothesis
import pytest
from moto import mock_aws

from labeller import clients
from local.demo.drawn import draw_dataset
from model_build.config import BuildConfig
from tests.model_build import quick
from tests.support import Printed

if TYPE_CHECKING:
    from local.aws.moto import LocalAws
    from local.aws.stack import Stack

# Powertools reads its variables when labeller.observability is imported, before any fixture runs.
os.environ.update(
    {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "POWERTOOLS_SERVICE_NAME": "classify",
        "POWERTOOLS_METRICS_NAMESPACE": "ImageLabellerTests",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }
)
os.environ.pop("AWS_PROFILE", None)

# Imported in fixtures only: pytest rewrites the asserts of what it loads itself.
pytest_plugins = ["tests.hostile", "tests.needs", "tests.services"]


# A shell that starts pytest in the background makes it, and every process that tests start, ignore SIGINT. Tests of
# Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Hypothesis fails an example that takes 0.2 s, which on a busy machine any may.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.hookimpl(trylast=True)  # after they have been put in random order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin first: the last ones would leave all processors but one idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--midnight", action="store_true", help="run all tests as those with the marker midnight")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with _midnights_passed(item, 1):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with _midnights_passed(item, 2):
        yield


@contextmanager
def _midnights_passed(item: pytest.Item, nights: int) -> Iterator[None]:
    """The first second of a later day (UTC), if the test has the marker midnight.

    Such a test is collected on one day, set up on the next and run on the third: it passes whenever midnight comes.
    Processes that it starts keep the real clock.
    """
    if item.config.getoption("midnight") or item.get_closest_marker("midnight"):
        from time_machine import travel

        with travel(datetime.combine(datetime.now(UTC).date() + timedelta(days=nights), time(), UTC)):
            yield
    else:
        yield


@cache
def _session() -> boto3.Session:
    return boto3.Session()


_own_session = cache(clients.new_session)


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch, service: dict[str, str] | None) -> Iterator[None]:
    """A separate AWS for the test, in memory. Sessions are shared, because each parses botocore's models.

    With --service it is that of another implementation, see tests/services.py.
    """
    for name, value in (service or {}).items():
        monkeypatch.setenv(name, value)
    with nullcontext() if service else mock_aws():
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", _session())
        monkeypatch.setattr(clients, "new_session", _own_session)
        if service:
            from tests import services  # a plugin, so not imported above

            services.empty()
        yield


@pytest.fixture
def one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that creates a session gets the shared one."""
    monkeypatch.setattr(boto3.session, "Session", _session)


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch, service: dict[str, str] | None) -> None:
    """Connecting anywhere fails the test."""
    if service is not None:
        return

    def refuse(_self: socket.socket, address: object) -> None:
        raise AssertionError(f"a unit test connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Printed]:
    """A function that returns what a handler has logged and counted since the last call."""
    from labeller.observability import logger  # after the variables above are set

    # Metrics are printed. The logger keeps the stdout of its creation, which capsys does not capture.
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)

    def read() -> Printed:
        lines = (log.getvalue() + capsys.readouterr().out).splitlines()
        log.seek(0)
        log.truncate()
        return Printed([json.loads(line) for line in lines if line[:1] == "{"])

    return read


# ---- a real build of a narrow network on drawn pictures, shared by several tests ------------------------------


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of drawn pictures: two classes, 40 / 20 / 20 pictures of each."""
    return draw_dataset(tmp_path_factory.mktemp("drawn"), {"train": 40, "validation": 20, "test": 20})


@pytest.fixture(scope="session")
def config(drawn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """The configuration of `built`, small and quickly trained, whose cache holds the results of that build.

    The processes of pytest-xdist share one build: their temporary folders lie in a common one.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "built"
    config = BuildConfig(
        drawn_data,
        "random",
        image_size=64,
        speedup=1.0,
        out=folder / "out" / "model",
        cache=folder / "cache",
        quantisations=quick.QUANTISATIONS,
        quantisation_megapixels=0.04,  # ten images
        heads=quick.HEADS,
        yardstick=quick.YARDSTICK,
    )
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not config.out.exists():
            from model_build.build import build  # TensorFlow takes seconds to import
            from tests.model_build.narrow import load_narrow

            build(config, load_narrow)
    return config


@pytest.fixture(scope="session")
def built(config: BuildConfig) -> Path:
    """The folder of a finished model, from the real pipeline."""
    return config.out


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system whose size in kilobytes is the parameter."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={request.param}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        from tests import needs

        needs.skip("a full disk", "run as root, which may mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


# ---- the local AWS: the stack of template.yaml, deployed once for each test module ---------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    from local.aws.moto import local_aws

    with local_aws() as running:
        yield running


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Stack:
    from local.aws.stack import deploy

    return deploy(aws)


@pytest.fixture(scope="session")
def python() -> Path:
    """A Python 3.13 with AWS's runtime client. Skips the test if this machine has no such Python or no emulator."""
    from layers.runtime_python import RuntimePythonNotFound, ensure_runtime
    from local.runtime.emulator import EmulatorError, emulator_program
    from tests import needs

    try:
        emulator_program()
        return ensure_runtime()
    except RuntimePythonNotFound:
        needs.skip("the built function", "install a Python 3.13 (`uv python install 3.13`), then `make test`")
    except EmulatorError as error:
        needs.skip("the built function", str(error))
