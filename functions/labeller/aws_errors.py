"""botocore's errors as the project's own. Every module of the functions that calls AWS translates them here."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

# MethodNotAllowed: the requested version is a delete marker. "404" and "405" are the codes of responses without a
# body. Without the permission s3:ListBucket, S3 answers AccessDenied instead of NoSuchKey.
_GONE = {"NoSuchKey", "NoSuchVersion", "404", "405", "NotFound", "MethodNotAllowed"}
DENIED = {"AccessDenied", "403", "Forbidden"}


class Gone(Exception):
    """The object, or this version of it, was deleted after the event was sent."""


class AwsFailure(Exception):
    """A call to AWS failed, including botocore's own retries. The message names the object and the error code."""


class Denied(AwsFailure):
    """The function has no permission for this call on this object."""


class Archived(AwsFailure):
    """The object is in an archive class, which does not allow this call."""


def error_code(error: ClientError) -> str:
    """The code of AWS's response."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def describe(error: ClientError | BotoCoreError) -> str:
    """The error code, or the exception's name where there was no response, and the message."""
    return f"{error_code(error) if isinstance(error, ClientError) else type(error).__name__}: {error}"


@contextmanager
def aws_errors(call: str, target: str, *, of_object: bool = False) -> Iterator[None]:
    """Raise AwsFailure, Denied or Archived for botocore's errors. `call` and `target` are for the message.

    `of_object`: `target` is an S3 object or version, so that "not found" raises Gone.
    """
    try:
        yield
    except ClientError as error:
        code, message = error_code(error), f"{call} for {target}: {describe(error)}"
        if of_object and code in _GONE:
            raise Gone(message) from error
        kind = Denied if code in DENIED else Archived if code == "InvalidObjectState" else AwsFailure
        raise kind(message) from error
    except BotoCoreError as error:  # no response: connection, timeout, incomplete body, credentials
        raise AwsFailure(f"{call} for {target}: {describe(error)}") from error
