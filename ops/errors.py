"""Errors that a person can act on: the message says what to do, and is all that is printed."""

from __future__ import annotations

from botocore.exceptions import NoCredentialsError, NoRegionError


class LocalError(Exception):
    """Something of this machine stands in the way."""

    exit_code = 1


def in_words(error: Exception) -> str:
    """What a command says of an error of ours or of AWS's client."""
    if isinstance(error, NoRegionError):
        return "which region of AWS? Name that of your stack: AWS_DEFAULT_REGION=eu-central-1, or `aws configure`"
    if isinstance(error, NoCredentialsError):
        return "there are no credentials of AWS on this machine. `aws configure`, `aws sso login` or AWS_PROFILE=..."
    return str(error)
