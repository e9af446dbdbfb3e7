"""The trained network: manifest.json beside model.onnx, and what they say about a picture.

`Manifest` is the one definition of the contract between the model build, which writes it, and the functions,
which read it. The network itself takes `image`, uint8 [N, height, width, 3] RGB, and answers with `logits`,
float32 [N, labels]; softmax and temperature are here.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from labeller.golden import TOLERANCE, GoldenExample
from labeller.records import RESERVED_LABELS

FORMAT_VERSION = 2
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
INPUT_NAME = "image"
OUTPUT_NAME = "logits"


class ModelError(Exception):
    """The model's files are missing, damaged or do not fit together. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one needs besides the weights to use the network. ModelError where a value makes no sense."""

    labels: tuple[str, ...]  # in the order of the logits
    input_size: tuple[int, int]  # height, width in pixels
    temperature: float  # logits are divided by it before the softmax; 1 leaves them alone
    confidence_threshold: float  # 0..1; below it a label is UNSURE
    model_version: str  # goes into tags, rows and logs
    model_sha256: str  # of model.onnx, lower-case hex
    golden: GoldenExample  # what `load_classifier` asks the network first
    build: Mapping[str, Any] = field(default_factory=dict)  # provenance, free form; not read by the functions
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ModelError(
                f"format_version is {self.format_version!r}, this code reads {FORMAT_VERSION}; "
                "build the model and the function from the same commit"
            )
        _require(
            len(self.labels) >= 2 and all(isinstance(label, str) and label.strip() for label in self.labels),
            f"labels must be at least two non-empty strings, not {self.labels!r}",
        )
        _require(len(set(self.labels)) == len(self.labels), f"labels repeat themselves: {self.labels!r}")
        reserved = sorted(RESERVED_LABELS.intersection(self.labels))
        _require(
            not reserved,
            f"labels must not be {', '.join(reserved)}: they mark results without a label",
        )
        _require(
            len(self.input_size) == 2 and all(_is_int(side) and side > 0 for side in self.input_size),
            f"input_size must be [height, width] in pixels, not {self.input_size!r}",
        )
        _require(
            _is_number(self.temperature) and 0 < self.temperature < float("inf"),
            f"temperature must be a number above 0, not {self.temperature!r}",
        )
        _require(
            _is_number(self.confidence_threshold) and 0 <= self.confidence_threshold <= 1,
            f"confidence_threshold must be between 0 and 1, not {self.confidence_threshold!r}",
        )
        _require(
            isinstance(self.model_version, str) and bool(self.model_version.strip()),
            f"model_version must be a non-empty string, not {self.model_version!r}",
        )
        _require(
            isinstance(self.model_sha256, str)
            and len(self.model_sha256) == 64
            and set(self.model_sha256) <= set("0123456789abcdef"),
            f"model_sha256 must be 64 lower-case hexadecimal digits, not {self.model_sha256!r}",
        )
        _require(isinstance(self.golden, GoldenExample), f"golden must be a GoldenExample, not {self.golden!r}")
        _require(
            len(self.golden.logits) == len(self.labels),
            f"golden needs one logit for each of the {len(self.labels)} labels, it has {list(self.golden.logits)!r}",
        )
        _require(isinstance(self.build, Mapping), f"build must be an object, not {self.build!r}")

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The manifest in `text`; unknown members are ignored, so that older functions read newer files."""
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelError(f"is not JSON: {error}") from error
        _require(isinstance(content, dict), "must be a JSON object")
        known = {item.name for item in fields(cls)}
        missing = sorted(known - {"build"} - set(content))
        _require(not missing, f"lacks {', '.join(missing)}")
        values = {name: value for name, value in content.items() if name in known}
        for name in ("labels", "input_size"):
            _require(isinstance(values[name], list), f"{name} must be a list, not {values[name]!r}")
            values[name] = tuple(values[name])
        values["golden"] = _golden(values["golden"])
        return cls(**values)

    @classmethod
    def from_file(cls, path: Path) -> Manifest:
        """The manifest in the file `path`; ModelError names the file."""
        try:
            return cls.from_json(_read(path).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ModelError(f"{path} is not UTF-8 text: {error}") from error
        except ModelError as error:
            raise ModelError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    def to_json(self) -> str:
        """The text of manifest.json; `from_json` returns an equal manifest."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network says about one picture."""

    label: str  # the likeliest
    confidence: float  # its probability, 0..1
    scores: Mapping[str, float]  # probability of every label, in the manifest's order; they add up to 1


class Classifier:
    """A loaded network. Made by `load_classifier`."""

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        self._manifest = manifest
        self._session = session
        self.input_size = manifest.input_size
        self.labels = manifest.labels
        self.version = manifest.model_version
        self.confidence_threshold = manifest.confidence_threshold

    def predict(self, pixels: NDArray[np.uint8]) -> list[Prediction]:
        """One prediction for each of N pictures; `pixels` is uint8 [N, height, width, 3] of images.decode."""
        expected = (*self.input_size, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise ValueError(
                f"pixels must be uint8 [N, {', '.join(map(str, expected))}], not {pixels.dtype} {list(pixels.shape)}"
            )
        if not len(pixels):
            return []
        return [
            Prediction(self.labels[best], float(row[best]), dict(zip(self.labels, row.tolist(), strict=True)))
            for row in softmax(self.logits(pixels), self._manifest.temperature)
            for best in [int(row.argmax())]
        ]

    def check_itself(self) -> float:
        """Ask the network about the manifest's golden picture; takes one inference, and warms the session.

        Returns the largest difference of a logit, divided by the temperature, from what the build got. Raises
        ModelError if it exceeds `golden.TOLERANCE`.
        """
        golden = self._manifest.golden
        (logits,) = self.logits(golden.pixels(self.input_size))
        difference = float(np.abs(logits - golden.logits).max() / self._manifest.temperature)
        if difference > TOLERANCE:
            raise ModelError(
                f"model {self.version} fails its self-check: it answers the golden picture of {MANIFEST_FILE} with the "
                f"logits {logits.tolist()}, the build got {list(golden.logits)} (difference {difference:.3g}, allowed "
                f"{TOLERANCE}). This machine ({platform.machine()}, onnxruntime {onnxruntime.__version__}) computes "
                "something else than the one that built the model, so nothing is labelled. Deploy the libraries that "
                "the model was built with (`make layer`); `make verify-cpus` shows which CPUs agree"
            )
        return difference

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """float64 [N, labels] for uint8 pixels [N, height, width, 3]. Raises ModelError if one is not finite."""
        (logits,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: pixels})
        if not np.isfinite(logits).all():
            # argmax of NaN is 0: the first label would win, with no confidence at all.
            raise ModelError(f"model {self.version} answers with logits that are no finite numbers")
        return np.asarray(logits, np.float64)


def softmax(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Probabilities [N, C], float64, each row adding up to 1, from logits [N, C] divided by `temperature`."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))  # the maximum: exp must not overflow
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def load_classifier(directory: Path, threads: int) -> Classifier:
    """The network in `directory` (model.onnx, manifest.json), run with `threads` threads on the CPU.

    Raises ModelError if a file is missing, is not the one the manifest describes, or does not fit it, and if the
    network does not answer here as it did when it was built.
    """
    manifest = Manifest.from_file(directory / MANIFEST_FILE)
    path = directory / MODEL_FILE
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.model_sha256:
        raise ModelError(
            f"{path} has the SHA-256 {digest}, {MANIFEST_FILE} expects {manifest.model_sha256}: "
            "the two are not of one build. Run `make model layer` again and deploy the layer as a whole"
        )
    session = open_session(content, path, threads)
    _check_fit(session, manifest, path)
    classifier = Classifier(manifest, session)
    classifier.check_itself()
    return classifier


def open_session(content: bytes, path: Path, threads: int) -> onnxruntime.InferenceSession:
    """The network in `content`, as it is run wherever its answers count; `path` is for messages. ModelError."""
    options = onnxruntime.SessionOptions()
    # Explicit, because onnxruntime's automatic count looks at the host's cores and not at the CPU quota.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that have nothing to do sleep: spinning, the default, takes the processor from whoever shares it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: a warning would be a log line at each cold start
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its binding's exception classes share no other base and are not public
        raise ModelError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: {error}") from error


def _check_fit(session: onnxruntime.InferenceSession, manifest: Manifest, path: Path) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = [(item.name, item.type, list(item.shape)) for item in inputs]
    height, width = manifest.input_size
    if (
        len(found) != 1
        or found[0][:2] != (INPUT_NAME, "tensor(uint8)")
        or found[0][2][1:] != [height, width, 3]
        or isinstance(found[0][2][0], int)  # a fixed N: only batches of that one size would run
    ):
        raise ModelError(
            f"{path}: its input must be {INPUT_NAME!r}, tensor(uint8) [N, {height}, {width}, 3] with any N "
            f"(the size is {MANIFEST_FILE}'s), it has {found}"
        )
    answers = [(item.name, item.type, list(item.shape)) for item in outputs]
    wanted = (OUTPUT_NAME, "tensor(float)")
    if len(answers) != 1 or answers[0][:2] != wanted or answers[0][2][1:] != [len(manifest.labels)]:
        raise ModelError(
            f"{path}: its output must be {OUTPUT_NAME!r}, tensor(float) [N, {len(manifest.labels)}], one "
            f"logit for each label of {MANIFEST_FILE} ({', '.join(manifest.labels)}), it has {answers}"
        )


def _golden(content: object) -> GoldenExample:
    try:
        return GoldenExample(tile=content["tile"], logits=tuple(content["logits"]))  # type: ignore[index]
    except (TypeError, KeyError) as error:
        raise ModelError('golden must be {"tile": base64, "logits": [number, ...]}') from error
    except ValueError as error:
        raise ModelError(str(error)) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} is missing. In Lambda it comes with the model layer (`make model layer`, then "
            "`sam build`); elsewhere MODEL_DIR must name the folder that the model build wrote"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ModelError(message)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
