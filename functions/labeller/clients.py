"""The clients of S3, DynamoDB and EventBridge, made as fast as a cold start needs it."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeller.pipeline import ensure_time

if TYPE_CHECKING:
    from ssl import SSLContext

    from botocore.session import Session

# The standard mode retries throttling, 5xx and broken connections after up to 1 s and then up to 2 s. Two retries are
# enough, since SQS redelivers what still fails. The timeouts are far above what S3 and DynamoDB take in one region.
# A call therefore ends within 3 x (2 + 5) + 1 + 2 = 24 s, and even two hanging calls for one object leave it time to
# fail alone within the function's 60 s. (A body may take 5 s for each part that is read.)
_CONFIG: dict[str, Any] = {  # of botocore.config.Config
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "connect_timeout": 2,
    "read_timeout": 5,
    "max_pool_connections": 16,  # Settings.objects_in_flight is at most 16
}

_SERVICES = ("s3", "dynamodb", "events")


def new_session() -> Session:
    """A botocore session for the region and credentials of the environment."""
    # Imported here, so that a thread can do it during the cold start: it takes 0.15 s. boto3 would add S3's transfer
    # manager, resources and multiprocessing, and 20 ms.
    from botocore.loaders import JSONFileLoader, Loader
    from botocore.session import Session

    class DictLoader(JSONFileLoader):
        """Reads JSON into dictionaries, which keep their order: an OrderedDict takes twice the time, for 4 MB."""

        def load_file(self, file_path: str) -> Any:
            for suffix, inflated in ((".json", bytes), (".json.gz", gzip.decompress)):
                with suppress(FileNotFoundError):
                    return json.loads(inflated(Path(file_path + suffix).read_bytes()))
            return None

    class ServiceLoader(Loader):
        """Does not search the folders of all 400 services for the list of available ones."""

        def list_available_services(self, type_name: str) -> list[str]:
            return list(_SERVICES)

    session = Session()
    session.register_component("data_loader", ServiceLoader(file_loader=DictLoader()))
    return session


def make_clients(user_agent: str) -> tuple[Any, Any, Any]:
    """Clients of S3, DynamoDB and EventBridge for the region and credentials of the environment."""
    session = new_session()
    from botocore.httpsession import get_cert_path

    with ThreadPoolExecutor(1) as thread:  # beside the clients: OpenSSL reads the file in C
        thread.submit(_tls_context, get_cert_path(session.get_config_variable("ca_bundle") or True))
        s3, dynamodb, events = (_new_client(session, name, user_agent) for name in _SERVICES)
    for client in (s3, dynamodb, events):
        _read_authorities_once(client)
    return s3, dynamodb, events


def _new_client(session: Session, name: str, user_agent: str) -> Any:
    from botocore import __version__
    from botocore.config import Config

    # A fixed name: botocore would compose a longer one, twice for each request.
    config = Config(**_CONFIG, user_agent=f"{user_agent} Botocore/{__version__}")
    client: Any = session.create_client(name, config=config)
    # Before every attempt, including a retry after Lambda has resumed a process in which the object was given up:
    # by then another invocation may have labelled newer content.
    client.meta.events.register_first("before-send", lambda **_: ensure_time())
    return client


def _read_authorities_once(client: Any) -> None:
    """Keep the client's connections from reading the file of certificate authorities, 17 ms of processor time each.

    urllib3 reads it into the context of TLS that all connections of a client share, again for each of them. botocore
    has no setting for that.
    """
    from botocore.httpsession import get_cert_path

    if not client.meta.endpoint_url.startswith("https:"):
        return
    http = client._endpoint.http_session
    http._manager.connection_pool_kw["ssl_context"] = _tls_context(get_cert_path(http._verify))
    set_up = http._setup_ssl_cert

    def set_up_without_reading(connection: Any, url: str, verify: Any) -> None:
        set_up(connection, url, verify)
        connection.ca_certs = None

    http._setup_ssl_cert = set_up_without_reading


@cache
def _tls_context(authorities: str) -> SSLContext:
    """A context for connections to servers whose certificates are of these authorities, a file."""
    from botocore.httpsession import create_urllib3_context

    context: SSLContext = create_urllib3_context()
    context.load_verify_locations(authorities)
    return context
