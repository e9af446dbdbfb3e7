"""The environment variables of the score function, beside those that it shares with classify."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from labeller.settings import Settings, SettingsError, read_variables, share

REQUIRED = ("REPORTS_BUCKET", "REPORT_TOPIC")
DEFAULTS: Mapping[str, str] = {"TIME_ZONE": "UTC", "MINIMUM_ACCURACY": "0.9", "REPORT_LINK": "console"}
LINKS = ("console", "presigned")


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """The configuration of the score function."""

    shared: Settings  # model, limits and results table, as in classify
    reports_bucket: str  # contains testset/ and accuracy/
    report_topic: str  # ARN of the SNS topic for reports
    is_presigned: bool  # whether the mail's link opens the report without an AWS login
    time_zone: ZoneInfo  # decides a night's date
    minimum_accuracy: float  # 0..1; the alarm fires below it

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The settings in `env`, usually os.environ. Raises SettingsError, which names the variable."""
        values = read_variables(env, REQUIRED, DEFAULTS)
        if values["REPORT_LINK"] not in LINKS:
            raise SettingsError(f"REPORT_LINK must be {' or '.join(LINKS)}, not {values['REPORT_LINK']!r}")
        return cls(
            shared=Settings.from_env(env),
            reports_bucket=values["REPORTS_BUCKET"],
            report_topic=values["REPORT_TOPIC"],
            is_presigned=values["REPORT_LINK"] == "presigned",
            time_zone=_time_zone(values["TIME_ZONE"]),
            minimum_accuracy=share("MINIMUM_ACCURACY", values["MINIMUM_ACCURACY"]),
        )


def _time_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(f"TIME_ZONE must be a name such as Europe/Berlin, not {text!r}") from error
