"""Environment variables -> Settings. DEFAULTS holds all defaults; template.yaml passes every variable explicitly."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from labeller.records import TAG_SUFFIXES, is_tag_text
from labeller.results import Thresholds

DEFAULT_MAX_IMAGE_PIXELS = 100_000_000  # about 400 MB once decoded, at Pillow's four bytes a pixel

REQUIRED = ("RESULTS_TABLE",)
DEFAULTS: Mapping[str, str] = {
    "MODEL_DIR": "/opt/model",  # where Lambda unpacks the model layer
    "ONNX_THREADS": "1",  # template.yaml derives it from the memory size: 1,769 MB are one vCPU
    "TAG_PREFIX": "image-label",
    "MAX_IMAGE_BYTES": "26214400",  # 25 MiB; a camera's 50-megapixel JPEG has about 20
    "MAX_IMAGE_PIXELS": str(DEFAULT_MAX_IMAGE_PIXELS),
    "ROW_TTL_DAYS": "0",  # keep rows for ever
    "CONFIDENCE_THRESHOLD": "",  # empty: the manifest's, chosen by the build
    "FAMILIARITY_THRESHOLD": "",  # likewise; 0: no picture is UNKNOWN
    "KEY_PREFIX": "",  # only objects whose keys start with it are labelled
    "KEY_SUFFIXES": "",  # such as ".jpg,.png", in upper or lower case; empty: all keys
    "EVENT_BUS": "default",  # name or ARN
    "WRITE": "tags,row,event",  # what is written of a result; tags or row must be among it
}

_PILLOW_LIMIT = 178_956_970  # twice PIL.Image.MAX_IMAGE_PIXELS, above which Pillow itself refuses
_LONGEST_TTL = 36_500  # days, as in template.yaml; much larger numbers lead beyond the last date
_TAG_KEY_LENGTH = 128  # S3 API reference, PutObjectTagging

# Enough objects to keep the processors busy while others wait for S3, and no more than fit into memory with all
# their bytes, whatever the limit on an object's size.
_MAX_IN_FLIGHT = 16
_MAX_BYTES_IN_FLIGHT = 400_000_000


class SettingsError(Exception):
    """An environment variable is missing or invalid. The message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of a function."""

    results_table: str
    model_dir: Path  # holds model.onnx and manifest.json
    onnx_threads: int
    tag_prefix: str
    max_image_bytes: int
    max_image_pixels: int
    row_ttl_days: int  # 0: rows stay
    confidence_threshold: float | None  # 0..1; None: the manifest's
    familiarity_threshold: float | None  # likewise
    key_prefix: str
    key_suffixes: tuple[str, ...]  # in lower case; empty: any
    event_bus: str  # name or ARN, for the result events
    write: frozenset[str]  # of each result: some of tags, row and event

    @property
    def objects_in_flight(self) -> int:
        """The number of objects that are worked on at once."""
        return max(1, min(_MAX_IN_FLIGHT, _MAX_BYTES_IN_FLIGHT // self.max_image_bytes))

    def thresholds_in_force(self, manifest: Thresholds) -> Thresholds:
        """The environment's thresholds, or else the manifest's."""
        return Thresholds(
            manifest.confidence if self.confidence_threshold is None else self.confidence_threshold,
            manifest.familiarity if self.familiarity_threshold is None else self.familiarity_threshold,
        )

    def wants(self, key: str) -> bool:
        """Whether the object with this key is to be labelled."""
        return key.startswith(self.key_prefix) and (not self.key_suffixes or key.lower().endswith(self.key_suffixes))

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The settings in `env`, usually os.environ. Raises SettingsError."""
        values = read_variables(env, REQUIRED, DEFAULTS)
        return cls(
            results_table=values["RESULTS_TABLE"],
            model_dir=Path(values["MODEL_DIR"]),
            onnx_threads=_integer(values, "ONNX_THREADS", 1),
            tag_prefix=_tag_prefix(values["TAG_PREFIX"]),
            max_image_bytes=_integer(values, "MAX_IMAGE_BYTES", 1),
            max_image_pixels=_integer(values, "MAX_IMAGE_PIXELS", 1, _PILLOW_LIMIT),
            row_ttl_days=_integer(values, "ROW_TTL_DAYS", 0, _LONGEST_TTL),
            confidence_threshold=_threshold(values, "CONFIDENCE_THRESHOLD"),
            familiarity_threshold=_threshold(values, "FAMILIARITY_THRESHOLD"),
            key_prefix=values["KEY_PREFIX"],
            key_suffixes=tuple(s.strip().lower() for s in values["KEY_SUFFIXES"].split(",") if s.strip()),
            event_bus=values["EVENT_BUS"],
            write=_write(values["WRITE"]),
        )


def read_variables(env: Mapping[str, str], required: Iterable[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The variables in `env` with these names; an empty one counts as not set. Raises SettingsError."""
    for name in required:
        if not env.get(name):
            raise SettingsError(f"the environment variable {name} is not set; template.yaml passes it")
    return {**defaults, **{name: env[name] for name in (*required, *defaults) if env.get(name)}}


def share(name: str, text: str, expected: str = "a number between 0 and 1") -> float:
    """The number in `text`, 0..1. Raises SettingsError."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:  # false for NaN too
        raise SettingsError(f"{name} must be {expected}, not {text!r}")
    return number


def _threshold(values: Mapping[str, str], name: str) -> float | None:
    return share(name, values[name], "a number between 0 and 1, or empty for the model's own") if values[name] else None


def _integer(values: Mapping[str, str], name: str, least: int, most: int | None = None) -> int:
    text = values[name]
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        limits = f"of {least} or more" if most is None else f"between {least} and {most}"
        raise SettingsError(f"{name} must be a whole number {limits}, not {text!r}")
    return number


def _write(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    if not names <= {"tags", "row", "event"} or not names & {"tags", "row"}:
        raise SettingsError(f"WRITE must list some of tags,row,event, among them tags or row, not {text!r}")
    return names


def _tag_prefix(text: str) -> str:
    longest = _TAG_KEY_LENGTH - max(map(len, TAG_SUFFIXES))
    if not is_tag_text(text) or text != text.strip() or len(text) > longest or text.lower().startswith("aws:"):
        raise SettingsError(
            f"TAG_PREFIX must be 1 to {longest} letters, digits, spaces or + - = . _ : / @ and not start "
            f"with 'aws:', which AWS keeps for itself; it is {text!r}"
        )
    return text
