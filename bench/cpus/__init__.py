"""`make verify-cpus`: the finished model on this CPU, on x86 without VNNI and on arm64, photograph by photograph."""


class VerifyError(Exception):
    """The comparison cannot run; the message says why."""

    exit_code = 2
