from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from labeller.results import Thresholds
from labeller.settings import DEFAULTS, REQUIRED, Settings, SettingsError


def test_only_the_table_must_be_named() -> None:
    assert Settings.from_env({"RESULTS_TABLE": "results"}) == Settings(
        results_table="results",
        model_dir=Path("/opt/model"),
        onnx_threads=1,
        tag_prefix="image-label",
        max_image_bytes=26_214_400,
        max_image_pixels=100_000_000,
        row_ttl_days=0,
        confidence_threshold=None,
        familiarity_threshold=None,
        key_prefix="",
        key_suffixes=(),
        event_bus="default",
        write=frozenset({"tags", "row", "event"}),
    )


def test_the_environment_overrides_every_default() -> None:
    env = {
        "RESULTS_TABLE": "t",
        "MODEL_DIR": "/models/7",
        "ONNX_THREADS": "6",
        "TAG_PREFIX": "team:label",
        "MAX_IMAGE_BYTES": "1000",
        "MAX_IMAGE_PIXELS": "2000",
        "ROW_TTL_DAYS": "30",
        "CONFIDENCE_THRESHOLD": "0.75",
        "FAMILIARITY_THRESHOLD": "0.02",
        "KEY_PREFIX": "in/",
        "KEY_SUFFIXES": ".jpg, .PNG,",
        "EVENT_BUS": "pictures",
        "WRITE": "row",
    }
    assert set(env) == {*REQUIRED, *DEFAULTS}

    in_their_order = [
        Path("/models/7"),
        6,
        "team:label",
        1000,
        2000,
        30,
        0.75,
        0.02,
        "in/",
        (".jpg", ".png"),
        "pictures",
    ]
    assert Settings.from_env(env) == Settings("t", *in_their_order, frozenset({"row"}))  # type: ignore[arg-type]


def test_every_field_has_its_variable() -> None:
    assert {field.name.upper() for field in fields(Settings)} == {*REQUIRED, *DEFAULTS}


def test_an_empty_variable_means_the_default() -> None:
    assert Settings.from_env({"RESULTS_TABLE": "t", "TAG_PREFIX": ""}).tag_prefix == DEFAULTS["TAG_PREFIX"]


@pytest.mark.parametrize(
    ("largest", "objects"),
    [
        (1, 16),
        (25_000_000, 16),
        (25_000_001, 15),
        (26_214_400, 15),
        (200_000_000, 2),
        (200_000_001, 1),
        (500_000_000, 1),
    ],
)
def test_the_objects_in_flight_fit_into_400_megabytes_and_are_at_most_16(largest: int, objects: int) -> None:
    env = {"RESULTS_TABLE": "t", "MAX_IMAGE_BYTES": str(largest)}

    assert Settings.from_env(env).objects_in_flight == objects


@pytest.mark.parametrize(("text", "value"), [("", None), ("0", 0.0), ("1", 1.0), (".5", 0.5), ("0.985", 0.985)])
def test_a_threshold_is_the_models_own_unless_one_is_given(text: str, value: float | None) -> None:
    settings = Settings.from_env({"RESULTS_TABLE": "t", "CONFIDENCE_THRESHOLD": text, "FAMILIARITY_THRESHOLD": text})

    assert (settings.confidence_threshold, settings.familiarity_threshold) == (value, value)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Thresholds(0.9, 0.01)),
        ({"CONFIDENCE_THRESHOLD": "0.8"}, Thresholds(0.8, 0.01)),
        ({"FAMILIARITY_THRESHOLD": "0"}, Thresholds(0.9, 0.0)),
    ],
)
def test_the_operators_threshold_wins_over_the_models(variables: dict[str, str], expected: Thresholds) -> None:
    settings = Settings.from_env({"RESULTS_TABLE": "t", **variables})

    assert settings.thresholds_in_force(Thresholds(0.9, 0.01)) == expected


@pytest.mark.parametrize("env", [{}, {"RESULTS_TABLE": ""}])
def test_a_missing_table_is_named(env: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="RESULTS_TABLE is not set"):
        Settings.from_env(env)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ONNX_THREADS", "0", "ONNX_THREADS must be a whole number of 1 or more, not '0'"),
        ("ONNX_THREADS", "two", "ONNX_THREADS must be a whole number of 1 or more, not 'two'"),
        ("ROW_TTL_DAYS", "99999999", "ROW_TTL_DAYS must be a whole number between 0 and 36500, not '99999999'"),
        ("ROW_TTL_DAYS", "-1", "ROW_TTL_DAYS must be a whole number between 0 and 36500, not '-1'"),
        ("MAX_IMAGE_BYTES", "2.5e7", "MAX_IMAGE_BYTES must be a whole number"),
        ("MAX_IMAGE_PIXELS", "178956971", "MAX_IMAGE_PIXELS must be a whole number between 1 and 178956970"),
        ("CONFIDENCE_THRESHOLD", "1.01", "CONFIDENCE_THRESHOLD must be a number between 0 and 1, or empty .* '1.01'"),
        ("FAMILIARITY_THRESHOLD", "1%", "FAMILIARITY_THRESHOLD must be a number between 0 and 1, or empty .* '1%'"),
        ("CONFIDENCE_THRESHOLD", "-0.1", "CONFIDENCE_THRESHOLD"),
        ("CONFIDENCE_THRESHOLD", "nan", "CONFIDENCE_THRESHOLD"),
        ("CONFIDENCE_THRESHOLD", "90%", "CONFIDENCE_THRESHOLD"),
        ("TAG_PREFIX", "a,b", "TAG_PREFIX must be 1 to 117 letters"),
        ("TAG_PREFIX", "aws:label", "TAG_PREFIX .* 'aws:'"),
        ("TAG_PREFIX", " label", "TAG_PREFIX"),
        ("TAG_PREFIX", "x" * 118, "TAG_PREFIX"),
        ("WRITE", "event", "WRITE must list some of tags,row,event, among them tags or row, not 'event'"),
        ("WRITE", "tags,rows", "WRITE must list"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env({"RESULTS_TABLE": "t", name: value})


@pytest.mark.parametrize(
    ("env", "key", "wanted"),
    [
        ({}, "anything at all", True),
        ({"KEY_PREFIX": "in/"}, "in/a.jpg", True),
        ({"KEY_PREFIX": "in/"}, "In/a.jpg", False),  # keys are exact in S3
        ({"KEY_PREFIX": "in/"}, "other/in/a.jpg", False),
        ({"KEY_SUFFIXES": ".jpg,.png"}, "a.PNG", True),
        ({"KEY_SUFFIXES": ".jpg,.png"}, "a.png.txt", False),
        ({"KEY_SUFFIXES": " , "}, "a", True),
        ({"KEY_PREFIX": "in/", "KEY_SUFFIXES": ".jpg"}, "in/a.gif", False),
    ],
)
def test_prefix_and_suffixes_say_which_keys_are_wanted(env: dict[str, str], key: str, wanted: bool) -> None:
    assert Settings.from_env({"RESULTS_TABLE": "t", **env}).wants(key) is wanted


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings.from_env({"RESULTS_TABLE": "t"}).onnx_threads = 2  # type: ignore[misc]
