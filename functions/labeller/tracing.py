"""Subsegments for X-Ray, sent to the daemon that Lambda runs beside each function.

Not with X-Ray's SDK, which AWS keeps alive until 2027 only: importing it takes 125 ms of a cold start (processor time),
and it takes what one thread does for one thing after the other, while here many objects are worked on at once.
Format: X-Ray developer guide, "Segment documents" and "Sending segment documents to the X-Ray daemon".
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Mapping
from typing import Any

_HEADER = b'{"format": "json", "version": 1}\n'


def send_subsegment(env: Mapping[str, str], name: str, start: float, end: float, metadata: Mapping[str, Any]) -> None:
    """Tell X-Ray of work from `start` to `end` (seconds since 1970), if this invocation is traced.

    `env`: os.environ, where Lambda says so anew for each invocation. Nothing is raised, and nothing waited for.
    """
    trace = dict(part.split("=", 1) for part in env.get("_X_AMZN_TRACE_ID", "").split(";") if "=" in part)
    host, _, port = env.get("AWS_XRAY_DAEMON_ADDRESS", "").rpartition(":")
    if trace.get("Sampled") != "1" or not trace.keys() >= {"Root", "Parent"} or not host:
        return
    subsegment = {
        "type": "subsegment",
        "id": secrets.token_hex(8),
        "trace_id": trace["Root"],
        "parent_id": trace["Parent"],
        "name": name,
        "start_time": start,
        "end_time": end,
        "metadata": {"default": metadata},
    }
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
            daemon.setblocking(False)
            daemon.sendto(_HEADER + json.dumps(subsegment, default=str).encode(), (host, int(port)))
    except (OSError, ValueError):
        return  # a trace that is lost harms nobody
