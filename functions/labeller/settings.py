"""What the environment may say, read once at first use. The table below holds the only defaults there are;
template.yaml passes every one of these variables explicitly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labeller.records import TAG_SUFFIXES, is_tag_text

DEFAULT_MAX_IMAGE_PIXELS = 100_000_000  # about 400 MB once decoded, at Pillow's four bytes a pixel

REQUIRED = ("RESULTS_TABLE",)
DEFAULTS: Mapping[str, str] = {
    "MODEL_DIR": "/opt/model",  # where Lambda unpacks the model layer
    "ONNX_THREADS": "1",  # template.yaml derives it from the memory size: 1,769 MB are one vCPU
    "TAG_PREFIX": "image-label",
    "MAX_IMAGE_BYTES": "26214400",  # 25 MiB; a 50-megapixel JPEG of a camera has about 20
    "MAX_IMAGE_PIXELS": str(DEFAULT_MAX_IMAGE_PIXELS),
    "ROW_TTL_DAYS": "0",  # keep for ever
    "CONFIDENCE_THRESHOLD": "",  # the one of the model's manifest, chosen on its validation pictures
    "KEY_PREFIX": "",  # objects whose keys begin otherwise are left alone
    "KEY_SUFFIXES": "",  # such as ".jpg,.png", in any case of letters; none: all keys
    "EVENT_BUS": "default",  # name or ARN
}
NAMES = frozenset((*REQUIRED, *DEFAULTS))

_PILLOW_LIMIT = 178_956_970  # twice PIL.Image.MAX_IMAGE_PIXELS, above which Pillow refuses by itself
_TAG_KEY_LENGTH = 128  # S3 API reference, PutObjectTagging


class SettingsError(Exception):
    """An environment variable is missing or makes no sense. The message names it."""


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
    confidence_threshold: float | None  # 0..1, below it a label is UNSURE; None: the manifest's
    key_prefix: str
    key_suffixes: tuple[str, ...]  # in lower case; empty: any
    event_bus: str  # EventBridge's, for the result events

    def wants(self, key: str) -> bool:
        """Whether the object is to be labelled, by its key."""
        return key.startswith(self.key_prefix) and (not self.key_suffixes or key.lower().endswith(self.key_suffixes))

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """The settings in `env`, usually os.environ; SettingsError names the variable at fault."""
        for name in REQUIRED:
            if not env.get(name):
                raise SettingsError(f"the environment variable {name} is not set; template.yaml passes it")
        values = {**DEFAULTS, **{name: value for name, value in env.items() if name in NAMES and value}}
        return cls(
            results_table=values["RESULTS_TABLE"],
            model_dir=Path(values["MODEL_DIR"]),
            onnx_threads=_integer(values, "ONNX_THREADS", 1),
            tag_prefix=_tag_prefix(values["TAG_PREFIX"]),
            max_image_bytes=_integer(values, "MAX_IMAGE_BYTES", 1),
            max_image_pixels=_integer(values, "MAX_IMAGE_PIXELS", 1, _PILLOW_LIMIT),
            row_ttl_days=_integer(values, "ROW_TTL_DAYS", 0),
            confidence_threshold=_probability(values, "CONFIDENCE_THRESHOLD"),
            key_prefix=values["KEY_PREFIX"],
            key_suffixes=tuple(s.strip().lower() for s in values["KEY_SUFFIXES"].split(",") if s.strip()),
            event_bus=values["EVENT_BUS"],
        )


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


def _probability(values: Mapping[str, str], name: str) -> float | None:
    text = values[name]
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:  # not a number (NaN) is outside too
        raise SettingsError(f"{name} must be a number between 0 and 1, or empty for the model's own, not {text!r}")
    return number


def _tag_prefix(text: str) -> str:
    longest = _TAG_KEY_LENGTH - max(map(len, TAG_SUFFIXES))
    if not is_tag_text(text) or text != text.strip() or len(text) > longest or text.lower().startswith("aws:"):
        raise SettingsError(
            f"TAG_PREFIX must be 1 to {longest} letters, digits, spaces or + - = . _ : / @ and not start "
            f"with 'aws:', which AWS keeps for itself; it is {text!r}"
        )
    return text
