"""manifest.json: what is needed to use model.onnx, and the golden picture with which it is checked.

The model build writes it, the functions read it; `Manifest` is the one definition of this contract.
"""

import base64
import binascii
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labeller.results import RESERVED_LABELS, Thresholds

FORMAT_VERSION = 2
MODEL_FILE = "model.onnx"
GLANCE_FILE = "glance.onnx"  # where the manifest has `glance`
MANIFEST_FILE = "manifest.json"
DIGEST = "manifest_sha256"  # the member of the file that holds the digest of all others
INPUT_NAME = "image"
OUTPUT_NAME = "logits"
# Older models lack these outputs. The second and third belong together, and need EXEMPLARS_FILE.
FAMILIARITY_OUTPUT, NEAREST_OUTPUT, SIMILARITY_OUTPUT = "familiarity", "nearest", "similarity"
EXEMPLARS_FILE = "exemplars.json"  # [{"path": ..., "label": ...}, ...], the rows of NEAREST_OUTPUT
TILE = 16  # pixels; the side of the stored picture

TOLERANCE = 0.02
"""The largest difference of a logit, divided by the temperature, that passes the self-check.

If no scaled logit moves by more than d, no probability moves by more than d / 2: all CPUs must agree within 0.01.
Measured by `make verify-cpus` at 128 pixels: x86 with and without VNNI gives the same logits, arm64 differs by
0.0000003. Swapped channels differ by 0.5, a transposed picture by 2, and the same network without 7-bit weights, where
AVX2's kernels saturate, by 0.5."""
FAMILIARITY_TOLERANCE = TOLERANCE / 2
"""The largest difference of the familiarity and of a similarity that passes the self-check, as for a probability."""


class ModelError(Exception):
    """The model's files are missing, damaged or do not fit together. The message says what to do."""


@dataclass(frozen=True, slots=True)
class GoldenExample:
    """A picture, and the finished network's logits for it at build time. Raises ValueError for invalid values.

    Asking the loaded network again detects a CPU, an onnxruntime or a damaged library that computes something else
    (onnxruntime 1.23.1 gave wrong INT8 results on some CPUs). The picture has random colours, so that no photograph
    is distributed with a model.
    """

    tile: str  # base64 of uint8 [16, 16, 3] RGB
    logits: tuple[float, ...]  # of the finished network, in the order of the labels
    familiarity: float | None = None  # 0..1; None if the network has no such output
    similarity: tuple[float, ...] | None = None  # to the nearest exemplars, -1..1: random colours' familiarity is 0

    def __post_init__(self) -> None:
        try:
            size = len(base64.b64decode(self.tile, validate=True))
        except (TypeError, ValueError, binascii.Error) as error:
            raise ValueError(f"golden.tile must be base64: {error}") from error
        if size != TILE * TILE * 3:
            raise ValueError(f"golden.tile must hold {TILE} x {TILE} RGB pixels, {TILE * TILE * 3} bytes, not {size}")
        if not self.logits or not all(map(_is_number, self.logits)):
            raise ValueError(f"golden.logits must be finite numbers, not {list(self.logits)!r}")
        if not (self.familiarity is None or _is_share(self.familiarity)):
            raise ValueError(f"golden.familiarity must be between 0 and 1, not {self.familiarity!r}")
        if not all(_is_number(cosine) and abs(cosine) <= 1.01 for cosine in self.similarity or ()):  # INT8 exemplars
            raise ValueError(f"golden.similarity must be between -1 and 1, not {self.similarity!r}")

    @classmethod
    def of(
        cls,
        tile: NDArray[np.uint8],
        logits: Sequence[float],
        familiarity: float | None = None,
        similarity: Sequence[float] | None = None,
    ) -> Self:
        """The example of `tile`, uint8 [16, 16, 3] RGB, with the network's answers."""
        cosines = None if similarity is None else tuple(map(float, similarity))
        return cls(base64.b64encode(tile.tobytes()).decode("ascii"), tuple(map(float, logits)), familiarity, cosines)

    def pixels(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The picture as input of a network of `size` (height, width): uint8 [1, height, width, 3]."""
        tile = np.frombuffer(base64.b64decode(self.tile), np.uint8).reshape(TILE, TILE, 3)
        return enlarge(tile[np.newaxis], size)


@dataclass(frozen=True, slots=True)
class Glance:
    """A smaller network that is asked first, and what it may answer. Raises ValueError for invalid values.

    It answers a picture alone if both its confidence and its familiarity are at least these; the thorough network
    answers all others.
    """

    sha256: str  # of glance.onnx, lower-case hex
    temperature: float  # of its logits
    confidence: float  # 0..1
    familiarity: float  # 0..1
    golden: GoldenExample  # of this network

    def __post_init__(self) -> None:
        for name, (is_valid, expected) in _GLANCE_MEMBERS.items():
            if not is_valid(value := getattr(self, name)):
                raise ValueError(f"glance.{name} must be {expected}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything besides the weights that using the network takes. Raises ModelError for invalid values."""

    labels: tuple[str, ...]  # in the order of the logits
    input_size: tuple[int, int]  # height, width in pixels
    temperature: float  # logits are divided by it before the softmax
    confidence_threshold: float  # 0..1; below it a label is UNSURE
    model_version: str  # written to tags, rows and logs
    model_sha256: str  # of model.onnx, lower-case hex
    golden: GoldenExample  # `load_classifier` checks the network with it
    build: Mapping[str, Any] = field(default_factory=dict)  # provenance, any members; not read by the functions
    format_version: int = FORMAT_VERSION
    familiarity_threshold: float | None = None  # 0..1; below it a picture is UNKNOWN; None: never
    glance: Glance | None = None  # None: the network of MODEL_FILE answers every picture

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ModelError(
                f"format_version is {self.format_version!r}, this code reads {FORMAT_VERSION}; "
                "build the model and the function from the same commit"
            )
        for name, (is_valid, expected) in _MEMBERS.items():
            value = getattr(self, name)
            _require(is_valid(value), f"{name} must be {expected}, not {value!r}")
        _require(len(set(self.labels)) == len(self.labels), f"labels repeat themselves: {self.labels!r}")
        reserved = sorted(RESERVED_LABELS.intersection(self.labels))
        _require(not reserved, f"labels must not be {', '.join(reserved)}: they mark results without a label")
        for golden in (self.golden, *([self.glance.golden] if self.glance else [])):
            _require(
                len(golden.logits) == len(self.labels),
                f"golden needs one logit for each of the {len(self.labels)} labels, it has {list(golden.logits)!r}",
            )

    @property
    def thresholds(self) -> Thresholds:
        """The model's own thresholds."""
        return Thresholds(self.confidence_threshold, self.familiarity_threshold)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The manifest in `text`. Unknown members are ignored, so that older functions can read newer files."""
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelError(f"is not JSON: {error}") from error
        _require(isinstance(content, dict), "must be a JSON object")
        known = {item.name for item in fields(cls)}
        missing = sorted(known - {"build", "familiarity_threshold", "glance"} - set(content))
        _require(not missing, f"lacks {', '.join(missing)}")
        values = {name: value for name, value in content.items() if name in known}
        for name in ("labels", "input_size"):
            _require(isinstance(values[name], list), f"{name} must be a list, not {values[name]!r}")
            values[name] = tuple(values[name])
        values["golden"] = _golden(values["golden"])
        if values.get("glance") is not None:
            values["glance"] = _glance(values["glance"])
        manifest = cls(**values)
        _require_unedited(content)
        return manifest

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The manifest in a file. Raises ModelError, which names the file."""
        try:
            return cls.from_json(read_file(path).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ModelError(f"{path} is not UTF-8 text: {error}") from error
        except ModelError as error:
            raise ModelError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    def to_json(self) -> str:
        """The text of manifest.json; `from_json` returns an equal manifest."""
        content = asdict(self)
        return json.dumps(content | {DIGEST: _digest(content)}, ensure_ascii=False, indent=2) + "\n"


def _require_unedited(content: Mapping[str, Any]) -> None:
    """Raise ModelError if the content of a manifest.json is not what the build wrote.

    This catches accidents: exchanged labels, or a threshold of another model. It is no protection from somebody who
    may write to the layer. Files of earlier versions have no digest and pass.
    """
    _require(
        content.get(DIGEST) in (None, _digest(content)),
        "was changed after the model was built: its labels, temperature and threshold may not be those of the network. "
        "Copy the model's folder again as a whole, or run `make model`. To change a threshold alone, set the "
        "parameter ConfidenceThreshold or FamiliarityThreshold",
    )


def enlarge(tiles: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Tiles [N, 16, 16, 3] as pictures [N, height, width, 3], exactly the same on any machine.

    Every pixel becomes a square, with the smallest side in whole pixels that fills the picture; what exceeds the
    picture at the right and the bottom is cut off.
    """
    side = -(-max(size) // TILE)
    return np.ascontiguousarray(tiles.repeat(side, axis=1).repeat(side, axis=2)[:, : size[0], : size[1]])


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of all members but the digest's own, whatever their order and the file's spaces."""
    members = json.loads(json.dumps({name: value for name, value in content.items() if name != DIGEST}))
    return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()


def _golden(content: object) -> GoldenExample:
    try:
        familiarity, similarity = (content.get(name) for name in ("familiarity", "similarity"))  # type: ignore[attr-defined]
        cosines = None if similarity is None else tuple(similarity)
        return GoldenExample(content["tile"], tuple(content["logits"]), familiarity, cosines)  # type: ignore[index]
    except (AttributeError, TypeError, KeyError) as error:
        raise ModelError('golden must be {"tile": base64, "logits": [number, ...]}') from error
    except ValueError as error:
        raise ModelError(str(error)) from error


def _glance(content: Any) -> Glance:
    _require(isinstance(content, dict), f"glance must be an object or null, not {content!r}")
    names = [item.name for item in fields(Glance)]
    missing = sorted(set(names) - set(content))
    _require(not missing, f"glance lacks {', '.join(missing)}")
    try:
        return Glance(**{name: content[name] for name in names} | {"golden": _golden(content["golden"])})
    except ValueError as error:
        raise ModelError(str(error)) from error


def read_file(path: Path) -> bytes:
    """The content of a file of the model. ModelError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} is missing. In Lambda it comes with the model layer (`make model layer`, then "
            "`sam build`); elsewhere MODEL_DIR must name the folder that the model build wrote"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ModelError(message)


def _is_number(value: object) -> bool:
    """Whether the value is a finite number: JSON as Python reads it has NaN, Infinity and integers of any size."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_Rules = Mapping[str, tuple[Callable[[Any], object], str]]
_TEMPERATURE = (lambda value: _is_number(value) and value > 0, "a number above 0")
_SHA256 = (
    lambda digest: isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest),
    "64 lower-case hexadecimal digits",
)
_GOLDEN = (lambda golden: isinstance(golden, GoldenExample), "a GoldenExample")
_MEMBERS: _Rules = {  # member of Manifest: what its value must be
    "labels": (lambda labels: len(labels) >= 2 and all(map(_is_text, labels)), "at least two non-empty strings"),
    "input_size": (
        lambda size: len(size) == 2 and all(_is_number(side) and isinstance(side, int) and side > 0 for side in size),
        "[height, width] in pixels",
    ),
    "temperature": _TEMPERATURE,
    "confidence_threshold": (_is_share, "between 0 and 1"),
    "familiarity_threshold": (lambda value: value is None or _is_share(value), "between 0 and 1, or null"),
    "model_version": (_is_text, "a non-empty string"),
    "model_sha256": _SHA256,
    "golden": _GOLDEN,
    "build": (lambda build: isinstance(build, Mapping), "an object"),
    "glance": (lambda glance: glance is None or isinstance(glance, Glance), "a Glance, or null"),
}
_GLANCE_MEMBERS: _Rules = {
    "sha256": _SHA256,
    "temperature": _TEMPERATURE,
    "confidence": (_is_share, "between 0 and 1"),
    "familiarity": (_is_share, "between 0 and 1"),
    "golden": _GOLDEN,
}
