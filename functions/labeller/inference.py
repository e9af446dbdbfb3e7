"""A fetched object -> the network's answer: the one path of uploads, the test set and a candidate model."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labeller.classifier import Classifier
from labeller.decoder_process import FIRST_SECONDS, SECONDS, decode, decode_apart, decode_here
from labeller.images import Decoded, Reason, Unreadable
from labeller.pipeline import stage
from labeller.results import Prediction, Result, Status, Thresholds
from labeller.settings import Settings
from labeller.storage import Fetched

_GZIP = b"\x1f\x8b"  # RFC 1952; a file is a series of members, each with these first bytes
_PIECE = 2**16  # bytes that are inflated at once
_MOST_MEMBERS = 10_000  # tools write one for each part of a file


@dataclass(frozen=True, slots=True)
class Inference:
    """The network's answer for one object, and the picture it was given."""

    result: Result  # LABELLED, UNSURE or UNKNOWN
    prediction: Prediction
    decoded: Decoded


def infer(
    fetched: Fetched,
    classifier: Classifier,
    settings: Settings,
    durations: dict[str, float],
    on_decoded: Callable[[], None] = lambda: None,
) -> Inference:
    """Decode the object and run the network. Adds the milliseconds of both to `durations`: decode_ms, inference_ms.

    Calls `on_decoded` in between. Raises Unreadable, also for an object that S3 refused or that is too large.
    """
    with stage("decode", durations):
        decoded = decode_fetched(fetched, classifier.input_size, settings)
    return answer(decoded, classifier, settings, durations, on_decoded)


def infer_ordinary(
    fetched: Fetched,
    classifier: Classifier,
    settings: Settings,
    durations: dict[str, float],
    on_decoded: Callable[[], None],
) -> Inference | None:
    """As `infer`; None if the picture must be decoded in a decoder process, which may take long."""
    with stage("decode", durations):
        decoded = decode_here(content(fetched, settings), classifier.input_size, settings.max_image_pixels)
    return answer(decoded, classifier, settings, durations, on_decoded) if decoded else None


def answer(
    decoded: Decoded,
    classifier: Classifier,
    settings: Settings,
    durations: dict[str, float],
    on_decoded: Callable[[], None],
) -> Inference:
    """The second half of `infer`: the network's answer for a decoded picture."""
    on_decoded()
    with stage("inference", durations):
        (prediction,) = classifier.predict(decoded.pixels[np.newaxis])
    thresholds = settings.thresholds_in_force(classifier.thresholds)
    return Inference(labelled(prediction, decoded, classifier.version, thresholds), prediction, decoded)


def labelled(prediction: Prediction, decoded: Decoded, model: str, thresholds: Thresholds) -> Result:
    """The result for a decoded picture: LABELLED, UNSURE or UNKNOWN."""
    return Result(thresholds.status(prediction), model, prediction, decoded.width, decoded.height, decoded.format)


def unreadable(error: Unreadable, model: str) -> Result:
    """The result for an object that cannot be decoded."""
    return Result(Status.UNREADABLE, model, reason=error.reason.value, detail=error.detail)


def decode_fetched(fetched: Fetched, size: tuple[int, int], settings: Settings) -> Decoded:
    """The object's picture, resized to (height, width).

    Raises Unreadable, also for an object that S3 refused or that is too large.
    """
    return decode(content(fetched, settings), size, settings.max_image_pixels)


def decode_fetched_apart(
    fetched: Fetched, size: tuple[int, int], settings: Settings, durations: dict[str, float], is_first_try: bool
) -> Decoded:
    """As `decode_fetched`, in a decoder process. The first try raises TooSlow soon, and the picture needs another."""
    seconds = FIRST_SECONDS if is_first_try else SECONDS - FIRST_SECONDS
    with stage("decode", durations):
        return decode_apart(content(fetched, settings), size, settings.max_image_pixels, seconds)


def content(fetched: Fetched, settings: Settings) -> bytes:
    """The object's bytes, inflated. Raises Unreadable."""
    if fetched.refusal is not None:
        raise Unreadable(Reason[fetched.refusal.name], fetched.detail)
    limit = settings.max_image_bytes
    if fetched.data is None:
        raise Unreadable(Reason.TOO_LARGE, f"{fetched.size} bytes, more than the limit of {limit}")
    return _inflated(fetched.data, fetched.encoding, limit)


def _inflated(data: bytes, encoding: str, limit: int) -> bytes:
    """`data` without the gzip that its Content-Encoding names, if it has that; of a file cut off, what there is.

    Raises Unreadable if the content is damaged or inflates to more than `limit` bytes.
    """
    # Also "x-gzip" and "aws-chunked,gzip". Clients that inflate what they upload may leave the name.
    if "gzip" not in encoding.lower() or not data.startswith(_GZIP):
        return data
    inflated, view, position = bytearray(), memoryview(data), 0
    for _ in range(_MOST_MEMBERS):
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not member.eof and position < len(data):
            part = view[position : position + _PIECE]
            try:
                inflated += member.decompress(part, limit + 1 - len(inflated))
            except zlib.error as error:
                raise Unreadable(Reason.CORRUPT, "the gzip content is damaged") from error
            if len(inflated) > limit:
                raise Unreadable(Reason.TOO_LARGE, f"more than the limit of {limit} bytes once inflated")
            position += len(part) - len(member.unused_data)
        if not data.startswith(_GZIP, position):  # the end, or padding
            break
    return bytes(inflated)
