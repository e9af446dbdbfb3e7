"""The environment variables of the score function, beside those that it shares with classify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from labeller.settings import Settings, SettingsError

REQUIRED = ("REPORTS_BUCKET", "REPORT_TOPIC")
DEFAULTS: Mapping[str, str] = {"TIME_ZONE": "UTC", "MINIMUM_ACCURACY": "0.9"}
NAMES = frozenset((*REQUIRED, *DEFAULTS))


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """The configuration of the score function."""

    shared: Settings  # model, limits and results table, as in classify
    reports_bucket: str  # contains testset/ and accuracy/
    report_topic: str  # ARN of the SNS topic for reports
    time_zone: ZoneInfo  # decides a night's date
    minimum_accuracy: float  # 0..1; the alarm fires below it

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> ScoreSettings:
        """The settings in `env`, usually os.environ. Raises SettingsError, which names the variable."""
        for name in REQUIRED:
            if not env.get(name):
                raise SettingsError(f"the environment variable {name} is not set; template.yaml passes it")
        values = {**DEFAULTS, **{name: value for name, value in env.items() if name in NAMES and value}}
        return cls(
            shared=Settings.from_env(env),
            reports_bucket=values["REPORTS_BUCKET"],
            report_topic=values["REPORT_TOPIC"],
            time_zone=_time_zone(values["TIME_ZONE"]),
            minimum_accuracy=_share(values["MINIMUM_ACCURACY"]),
        )


def _time_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(f"TIME_ZONE must be a name such as Europe/Berlin, not {text!r}") from error


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise SettingsError(f"MINIMUM_ACCURACY must be a number between 0 and 1, not {text!r}")
    return number
