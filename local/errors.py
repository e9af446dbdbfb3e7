"""Errors that a person can act on: the message says what to do, and is all that is printed."""


class LocalError(Exception):
    """Something of this machine stands in the way."""

    exit_code = 1
