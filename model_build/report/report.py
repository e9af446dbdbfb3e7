"""report.json: the data, the decisions, the accuracy and the cost of a build.

docs/build-report.schema.json describes every field; the dataclasses have the names of the JSON.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from evaluation.metrics import ReliabilityBin
from labeller.results import Neighbour
from model_build.calibration import Threshold
from model_build.compression.smaller import LayerRedundancy
from model_build.config import HeadCandidate, QuantisationCandidate
from model_build.previous import PreviousModel
from model_build.verify import Accuracy, BaselineTest, SplitAccuracy


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test picture with a wrong label; `unsure` if its confidence is below the threshold, `unknown` if its
    familiarity is. `nearest` are the training pictures most similar to it."""

    path: str
    true: str
    predicted: str
    confidence: float
    unsure: bool
    unknown: bool = False
    nearest: tuple[Neighbour, ...] = ()

    @property
    def status(self) -> str:
        """UNKNOWN, UNSURE, or the predicted label."""
        return "UNKNOWN" if self.unknown else "UNSURE" if self.unsure else self.predicted


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Accuracy and log loss at temperature 1 on training and validation, each picture judged by a head that did not
    learn from it."""

    images: int
    correct: int
    accuracy: float
    log_loss: float


ACCURACY_ROWS = {"train": "learnt from", "validation": "cross-validation", "test": "test"}
"""What each entry of `BuildReport.accuracy` is of. The first two are of training and validation images together: by the
shipped head, which learnt from them, and by heads that did not learn from the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadResult(HeadCandidate):
    """A head of the comparison. `excess` is its mean log loss above the lowest one, picture by picture, with its
    standard error."""

    validation: ValidationResult
    excess: float
    excess_error: float
    seconds: float


@dataclass(frozen=True, slots=True)
class HeadReport:
    """How the head was chosen."""

    chosen: str
    rule: str
    candidates: list[HeadResult]
    parameters: int
    yardstick: BaselineTest


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisationResult(QuantisationCandidate):
    """A quantised base; `images` is the number it was calibrated on, `error` is NaN or infinite for a useless one."""

    error: float
    correct: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class QuantisationReport:
    """How the INT8 ranges were chosen."""

    chosen: str
    rule: str
    images: int
    fp32_correct: int
    candidates: list[QuantisationResult]


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """A network of the search, with the milliseconds of one image on one thread and on all cores. `validation` is on
    the largest sample it was judged on; `excess` is its mean log loss above the lowest there, picture by picture."""

    name: str
    image_size: int
    speedup: float
    channels: tuple[int, ...]
    ranks: tuple[int | None, ...]
    multiplications: int
    bytes: int
    milliseconds: float
    milliseconds_all_cores: float
    validation: ValidationResult
    excess: float
    excess_error: float


@dataclass(frozen=True, slots=True)
class SearchReport:
    """How the picture's size and the network were chosen, the fastest network first; `measurably_worse`: another one
    has a measurably lower log loss."""

    chosen: str
    rule: str
    measurably_worse: bool
    networks: list[NetworkResult]
    redundancy: list[LayerRedundancy]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well confidences match accuracies."""

    ece: float
    log_loss: float
    brier: float
    bins: list[ReliabilityBin]


@dataclass(frozen=True, slots=True)
class Labelled(Accuracy):
    """The pictures at or above the confidence threshold, `share` of all."""

    share: float


@dataclass(frozen=True, slots=True)
class SplitCalibration:
    """Reliability at temperature 1 and at the fitted temperature."""

    images: int
    before: Reliability
    after: Reliability
    labelled: Labelled


@dataclass(frozen=True, slots=True)
class ChangeResult(Accuracy):
    """Changed copies of some validation pictures, `originals_correct` of which are right unchanged, and the copies that
    get a label. Temperature and threshold consider them if `counted`."""

    change: str
    counted: bool
    originals_correct: int
    labelled: Labelled


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """Temperature and threshold, both chosen in the cross-validation, and how changed copies of pictures fare there;
    `at_bound`: the search for the temperature ended at one of its bounds."""

    temperature: float
    at_bound: bool
    threshold: Threshold
    validation: SplitCalibration
    test: SplitCalibration
    changes: list[ChangeResult]
    caution: str


@dataclass(frozen=True, slots=True)
class MethodResult:
    """A way to score familiarity: its area under the ROC curve by kind of stand-ins, and its area above the nearest
    neighbours' on those that decide, with the standard error of this difference."""

    name: str
    areas: Mapping[str, float]
    gain: float
    gain_error: float


@dataclass(frozen=True, slots=True)
class Answers:
    """How many of some pictures are labelled, UNSURE and UNKNOWN."""

    images: int
    labelled: int
    unsure: int
    unknown: int


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Some strangers, and the area under their curve. `points`: the share of the strangers, and then of the test
    pictures, that is at least as familiar as some threshold, from the strictest threshold to the loosest."""

    strangers: str
    images: int
    area: float
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class StrangePicture:
    """A training or validation picture, compared with the other exemplars."""

    path: str
    label: str
    familiarity: float
    nearest: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class FamiliarityReport:
    """How familiarity is scored and what it does. `stand_ins` counts those of each kind; `test` and `labelled` are of
    the test pictures, by both thresholds; `other` is of the test pictures in the folder `other`, if there are any."""

    threshold: float
    method: str
    rule: str
    decided_by: str
    methods: list[MethodResult]
    stand_ins: Mapping[str, int]
    exemplars: int
    caution: str
    test: Answers
    labelled: Labelled
    curves: list[RocCurve]
    strangest: list[StrangePicture]
    other: Answers | None = None


@dataclass(frozen=True, slots=True)
class GlanceReport:
    """The glance network, what it may answer, and the pictures that it answered: in the cross-validation, of the
    changed copies there, and on test. `excess` is the mean log loss of both networks above the thorough one's alone,
    picture by picture in the cross-validation; `milliseconds` are of one picture on one thread."""

    network: str
    rule: str
    confidence: float
    familiarity: float
    validation: Labelled
    changed: Labelled
    test: Labelled
    excess: float
    excess_error: float
    milliseconds: float
    thorough_milliseconds: float

    @property
    def mean_milliseconds(self) -> float:
        """Of a picture like those of test."""
        return self.milliseconds + (1 - self.test.share) * self.thorough_milliseconds


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Everything in report.json. `key` is `fingerprint.build_fingerprint`; `search` is None if the
    full network was asked for, `previous` if the build replaces no model, `glance` if the network answers alone."""

    format_version: int
    key: str
    model_version: str
    labels: tuple[str, ...]
    images: Mapping[str, Mapping[str, int]]
    unreadable: Mapping[str, str]
    left_out: Mapping[str, str]
    split_by_content: bool
    accuracy: Mapping[str, SplitAccuracy]
    classes: Mapping[str, Accuracy]
    confusion: list[list[int]]
    mistakes: list[Mistake]
    head: HeadReport
    quantisation: QuantisationReport
    calibration: CalibrationReport
    familiarity: FamiliarityReport
    largest_difference_to_keras: float
    bytes: Mapping[str, int]
    machine: Mapping[str, int | str]
    settings: Mapping[str, Any]
    weights: str
    weights_sha256: str
    data_sha256: str
    packages: Mapping[str, str]
    seconds: Mapping[str, float]
    reused: int
    search: SearchReport | None = None
    previous: PreviousModel | None = None
    glance: GlanceReport | None = None

    @property
    def asked_for_a_worse_network(self) -> bool:
        """Whether the settings name a network, and another one has a measurably lower log loss. What a search finds may
        be one that its rule prefers for its speed."""
        searched = self.settings["auto_size"] or self.settings["auto_speedup"]
        return bool(self.search and self.search.measurably_worse and not searched)


def to_json(report: BuildReport) -> str:
    """report.json. NaN and infinity become null."""
    return json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """The value as in JSON. A field that is None by default is left out while it is None."""
    if is_dataclass(value):
        pairs = [(field, getattr(value, field.name)) for field in fields(value)]
        return {field.name: plain(each) for field, each in pairs if each is not None or field.default is not None}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
