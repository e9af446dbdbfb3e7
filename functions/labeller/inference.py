"""From what S3 handed out to what the network is asked about: the same for uploads and for the test set."""

from __future__ import annotations

from labeller.images import Decoded, Reason, Unreadable, decode
from labeller.settings import Settings
from labeller.storage import Fetched

# How many objects are worked on at once: enough to keep the processors busy while others wait for S3, and no more
# than fit into memory with all their bytes, whatever the limit on an object's size.
_MOST_IN_FLIGHT = 16
_MOST_BYTES_IN_FLIGHT = 400_000_000


def decode_fetched(fetched: Fetched, size: tuple[int, int], settings: Settings) -> Decoded:
    """The picture at the network's size (height, width). Raises Unreadable, also for what S3 refused and what is over
    the limits."""
    if fetched.refusal is not None:
        raise Unreadable(Reason[fetched.refusal.name], fetched.detail)
    if fetched.data is None:
        limit = settings.max_image_bytes
        raise Unreadable(Reason.TOO_LARGE, f"{fetched.size} bytes, more than the limit of {limit}")
    return decode(fetched.data, size, settings.max_image_pixels)


def threshold_in_force(manifest: float, settings: Settings) -> float:
    """The confidence below which a label is UNSURE: the stack's, or else the manifest's."""
    return manifest if settings.confidence_threshold is None else settings.confidence_threshold


def objects_in_flight(max_bytes: int) -> int:
    """How many objects of up to `max_bytes` may be worked on at once."""
    return max(1, min(_MOST_IN_FLIGHT, _MOST_BYTES_IN_FLIGHT // max_bytes))
