"""A fetched object -> the network's answer: the one path of uploads, the test set and a candidate model."""

from dataclasses import dataclass

import numpy as np

from labeller.classifier import Classifier
from labeller.images import Decoded, Reason, Unreadable, decode
from labeller.pipeline import stage
from labeller.results import Prediction, Result, Status
from labeller.settings import Settings
from labeller.storage import Fetched


@dataclass(frozen=True, slots=True)
class Inference:
    """The network's answer for one object, and the picture it was given."""

    result: Result  # LABELLED or UNSURE
    prediction: Prediction
    decoded: Decoded


def infer(fetched: Fetched, classifier: Classifier, settings: Settings, durations: dict[str, float]) -> Inference:
    """Decode the object and run the network. Adds the milliseconds of both to `durations`: decode_ms, inference_ms.

    Raises Unreadable, also for an object that S3 refused or that is too large.
    """
    with stage("decode", durations):
        decoded = _decode(fetched, classifier.input_size, settings)
    with stage("inference", durations):
        (prediction,) = classifier.predict(decoded.pixels[np.newaxis])
    threshold = settings.threshold_in_force(classifier.confidence_threshold)
    return Inference(labelled(prediction, decoded, classifier.version, threshold), prediction, decoded)


def labelled(prediction: Prediction, decoded: Decoded, model: str, threshold: float) -> Result:
    """The result for a decoded picture: LABELLED if the confidence (0..1) reaches `threshold`, else UNSURE."""
    status = Status.LABELLED if prediction.confidence >= threshold else Status.UNSURE
    return Result(status, model, prediction, decoded.width, decoded.height, decoded.format)


def unreadable(error: Unreadable, model: str) -> Result:
    """The result for an object that cannot be decoded."""
    return Result(Status.UNREADABLE, model, reason=error.reason.value, detail=error.detail)


def _decode(fetched: Fetched, size: tuple[int, int], settings: Settings) -> Decoded:
    if fetched.refusal is not None:
        raise Unreadable(Reason[fetched.refusal.name], fetched.detail)
    if fetched.data is None:
        limit = settings.max_image_bytes
        raise Unreadable(Reason.TOO_LARGE, f"{fetched.size} bytes, more than the limit of {limit}")
    return decode(fetched.data, size, settings.max_image_pixels)
