"""template.yaml is sound, and agrees with the code that it deploys."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file

from labeller import records, settings
from labeller.events import ObjectRef, parse_request
from labeller.images import Reason, Unreadable
from labeller.inference import unreadable
from labeller.records import item_for
from labeller.results import Tagging
from labeller.settings import Settings
from layers.__main__ import OUT as LAYERS
from layers.wheels import ARCHITECTURE, PYTHON_VERSION
from tests.support import ROOT, TEMPLATE
from tests.template import PARAMETERS, RESOURCES, TEMPLATE_CONTENT, of_type, properties

POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}


def functions() -> list[dict[str, Any]]:
    return list(of_type("AWS::Serverless::Function").values())


def environment(memory: str) -> dict[str, str]:
    """The function's environment as CloudFormation passes it, all other parameters at their defaults."""
    variables = properties("ClassifyFunction")["Environment"]["Variables"]

    def value(given: Any) -> str:
        if isinstance(given, str):
            return given
        if "Fn::FindInMap" in given:
            name, key, member = given["Fn::FindInMap"]
            assert key == {"Ref": "MemorySize"}
            return TEMPLATE_CONTENT["Mappings"][name][memory][member]
        (name,) = given.values()
        return str(PARAMETERS[name]["Default"]) if name in PARAMETERS else f"the {name}"

    return {name: value(given) for name, given in variables.items()}


# ---- as AWS sees it -----------------------------------------------------------------------------------


def test_cfn_lint_finds_nothing() -> None:
    assert [str(match) for match in lint_file(TEMPLATE)] == []


def test_nothing_is_kept_from_the_linter() -> None:
    assert "cfn-lint" not in TEMPLATE.read_text(encoding="utf-8")
    assert not list(ROOT.glob(".cfnlintrc*"))


@pytest.mark.parametrize("section", ["Parameters", "Outputs"])
def test_every_parameter_and_output_is_described(section: str) -> None:
    assert [name for name, entry in TEMPLATE_CONTENT[section].items() if not entry.get("Description")] == []


def test_every_parameter_is_used() -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    assert [name for name in PARAMETERS if not re.search(rf"!Ref {name}\b", text)] == []


# ---- agreement with the code --------------------------------------------------------------------------


@pytest.mark.parametrize("logical_id", of_type("AWS::Serverless::Function"))
def test_the_handler_can_be_imported_from_the_code_folder(logical_id: str) -> None:
    function = properties(logical_id)
    module_name, name = function["Handler"].rsplit(".", 1)
    module = importlib.import_module(module_name)
    assert callable(getattr(module, name))
    assert Path(module.__file__ or "").is_relative_to(ROOT / function["CodeUri"])


def test_the_environment_is_exactly_what_settings_and_powertools_read() -> None:
    constant = {"MAX_IMAGE_PIXELS"}  # nobody needs another; the default of settings
    read = {*settings.REQUIRED, *settings.DEFAULTS} | POWERTOOLS
    passed = environment("1769")
    assert passed.pop("OPENBLAS_NUM_THREADS") == "1"  # numpy reads it
    assert set(passed) == read - constant


@pytest.mark.parametrize("memory", PARAMETERS["MemorySize"]["AllowedValues"])
def test_the_defaults_of_the_parameters_are_those_of_settings(memory: str) -> None:
    passed = environment(memory)
    threads = passed.pop("ONNX_THREADS")
    defaults = Settings.from_env({"RESULTS_TABLE": "the ResultsTable", "ONNX_THREADS": threads})
    assert Settings.from_env(passed | {"ONNX_THREADS": threads}) == defaults


@pytest.mark.parametrize("memory", PARAMETERS["MemorySize"]["AllowedValues"])
def test_onnxruntime_gets_one_thread_for_each_vcpu_that_the_memory_buys(memory: str) -> None:
    # AWS Lambda developer guide, "Configure Lambda function memory": 1,769 MB are equivalent to one vCPU.
    assert int(environment(memory)["ONNX_THREADS"]) == round(int(memory) / 1769)


def test_the_largest_memory_has_the_six_vcpus_that_aws_documents() -> None:
    assert environment("10240")["ONNX_THREADS"] == "6"
    assert set(TEMPLATE_CONTENT["Mappings"]["ThreadsByMemory"]) == set(PARAMETERS["MemorySize"]["AllowedValues"])


def test_the_default_memory_buys_more_than_one_vcpu_and_is_open_to_new_accounts() -> None:
    assert 1769 < int(PARAMETERS["MemorySize"]["Default"]) <= 3008


@pytest.mark.parametrize(
    ("variable", "parameter"),
    [
        ("MAX_IMAGE_BYTES", "MaxImageBytes"),
        ("ROW_TTL_DAYS", "RowTtlDays"),
    ],
)
def test_settings_accept_what_the_parameters_allow(variable: str, parameter: str) -> None:
    for limit in ("MinValue", "MaxValue"):
        Settings.from_env({"RESULTS_TABLE": "t", variable: str(PARAMETERS[parameter][limit])})


@pytest.mark.parametrize("prefix", ["image-label", "Team_1/label.of", "a" * 100])
def test_settings_accept_the_tag_prefixes_that_the_template_allows(prefix: str) -> None:
    assert re.fullmatch(PARAMETERS["TagPrefix"]["AllowedPattern"], prefix)
    assert len(prefix) <= PARAMETERS["TagPrefix"]["MaxLength"]
    assert Settings.from_env({"RESULTS_TABLE": "t", "TAG_PREFIX": prefix}).tag_prefix == prefix


@pytest.mark.parametrize("prefix", ["", "aws:label", "label prefix", "étiquette", "1st"])
def test_the_template_refuses_these_tag_prefixes(prefix: str) -> None:
    assert not re.fullmatch(PARAMETERS["TagPrefix"]["AllowedPattern"], prefix)


@pytest.mark.parametrize(("text", "threshold"), [("", None), ("0", 0.0), ("1", 1.0), ("0.95", 0.95), (".5", 0.5)])
@pytest.mark.parametrize("name", ["confidence", "familiarity"])
def test_settings_accept_the_thresholds_that_the_template_allows(name: str, text: str, threshold: float | None) -> None:
    assert re.fullmatch(PARAMETERS[f"{name.title()}Threshold"]["AllowedPattern"], text)
    settings_read = Settings.from_env({"RESULTS_TABLE": "t", f"{name.upper()}_THRESHOLD": text})
    assert getattr(settings_read, f"{name}_threshold") == threshold


@pytest.mark.parametrize("text", ["1.5", "-0.1", "95", "95%", "0,95", " ", "none"])
@pytest.mark.parametrize("parameter", ["ConfidenceThreshold", "FamiliarityThreshold"])
def test_the_template_refuses_these_thresholds(parameter: str, text: str) -> None:
    assert not re.fullmatch(PARAMETERS[parameter]["AllowedPattern"], text)


def test_rows_carry_the_keys_of_the_table_and_its_ttl_attribute() -> None:
    table = properties("ResultsTable")
    keys = {entry["KeyType"]: entry["AttributeName"] for entry in table["KeySchema"]}
    types = {entry["AttributeName"]: entry["AttributeType"] for entry in table["AttributeDefinitions"]}
    ref = ObjectRef("uploads", "a b/c.jpg", None, "0055", "2026-11-24T08:00:00.000Z")
    row = item_for(
        ref,
        unreadable(Unreadable(Reason.EMPTY, "no bytes"), "m"),
        Tagging.WRITTEN,
        etag="e",
        size=0,
        classified_at=datetime(2026, 11, 24, 8, tzinfo=UTC),
        ttl_days=1,
    )
    assert (row[keys["HASH"]], row[keys["RANGE"]]) == ("uploads/a b/c.jpg", "null")
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == records.INDEX
    in_index = [entry["AttributeName"] for entry in index["KeySchema"]]
    assert set(in_index) <= set(row)
    assert types == dict.fromkeys([keys["HASH"], keys["RANGE"], *in_index], "S")
    # One day after 2026-11-24 08:00 UTC; date -u -d '2026-11-25 08:00' +%s
    assert row[table["TimeToLiveSpecification"]["AttributeName"]] == 1795593600


def test_the_layers_are_the_folders_that_make_layer_fills() -> None:
    assert all(f["Layers"] == [{"Ref": "LibrariesLayer"}, {"Ref": "ModelLayer"}] for f in functions())
    assert ROOT / properties("LibrariesLayer")["ContentUri"] == LAYERS / "libraries"
    assert ROOT / properties("ModelLayer")["ContentUri"] == LAYERS / "model"
    # No BuildMethod: `sam build` takes the folders as they are.
    assert all("Metadata" not in RESOURCES[name] for name in ("LibrariesLayer", "ModelLayer"))


def test_the_layers_are_packaged_for_the_runtime_of_the_functions() -> None:
    runtime, architecture = f"python{PYTHON_VERSION}", [{"Ref": "Architecture"}]
    for function in functions():
        assert (function["Runtime"], function["Architectures"]) == (runtime, architecture)
    for layer in of_type("AWS::Serverless::LayerVersion").values():
        assert (layer["CompatibleRuntimes"], layer["CompatibleArchitectures"]) == ([runtime], architecture)
    assert PARAMETERS["Architecture"]["Default"] == ARCHITECTURE


@pytest.mark.parametrize(("function", "packages"), [("classify", ["labeller"]), ("score", ["evaluation", "labeller"])])
def test_the_makefile_ships_sources_and_page_templates_and_nothing_else(
    tmp_path: Path, function: str, packages: list[str]
) -> None:
    source, artifacts = tmp_path / "source", tmp_path / "artifacts"
    for file in (
        "classify/app.py",
        "score/app.py",
        "evaluation/report.py",
        "evaluation/templates/base.html",
        "evaluation/templates/style.css",
        "evaluation/templates/notes.txt",
        "evaluation/report.html",
        "labeller/events.py",
        "labeller/__pycache__/events.pyc",
        "labeller/notes.txt",
        "labeller/page.html",
    ):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text("# " + file)
    artifacts.mkdir()
    (source / "Makefile").write_bytes((ROOT / "functions/Makefile").read_bytes())
    target = f"build-{function.capitalize()}Function"
    subprocess.run(["make", "--silent", "-C", source, target, f"ARTIFACTS_DIR={artifacts}"], check=True)
    shipped = {str(file.relative_to(artifacts)) for file in artifacts.rglob("*") if file.is_file()}
    files = {
        "evaluation": ("evaluation/report.py", "evaluation/templates/base.html", "evaluation/templates/style.css"),
        "labeller": ("labeller/events.py",),
    }
    assert shipped == {f"{function}/app.py", *(file for package in packages for file in files[package])}


# ---- nothing lost -------------------------------------------------------------------------------------


def test_a_message_stays_hidden_for_six_timeouts_of_the_function() -> None:
    # AWS Lambda developer guide, "Creating and configuring an Amazon SQS event source mapping".
    function, source = properties("ClassifyFunction"), properties("UploadsToClassify")
    assert properties("UploadsQueue")["VisibilityTimeout"] >= 6 * function["Timeout"]
    # AWS Lambda API reference: above 10, a batching window of at least a second is required.
    assert source["BatchSize"] == 10
    assert "MaximumBatchingWindowInSeconds" not in source


def test_failed_messages_come_back_alone_and_end_in_the_dead_letter_queue() -> None:
    source = properties("UploadsToClassify")
    queue, dead = properties("UploadsQueue"), properties("UploadsDeadLetterQueue")
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "MaxConcurrency"}}
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["UploadsDeadLetterQueue", "Arn"]}
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5
    assert dead["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert queue["MessageRetentionPeriod"] <= dead["MessageRetentionPeriod"]


@pytest.mark.parametrize("logical_id", ["UploadsBucket", "ResultsTable"])
def test_pictures_and_results_outlive_the_stack(logical_id: str) -> None:
    assert RESOURCES[logical_id]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[logical_id]["UpdateReplacePolicy"] == "Retain"


def test_the_table_can_be_restored_to_any_moment_and_is_paid_for_by_the_request() -> None:
    table = properties("ResultsTable")
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"


# ---- events/ ------------------------------------------------------------------------------------------


def sample(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "events" / name).read_text(encoding="utf-8"))


def deliveries(name: str) -> list[list[str]]:
    """The objects of each message, task or event of a sample."""
    request = parse_request(sample(name))
    return [[f"{ref.bucket}: {ref.key}" for ref in delivery.refs] for delivery in request.deliveries]


CAT, DOG = "uploads: cat.jpg", "uploads: 2026/summer holiday/dog + cat (1).jpg"
SAMPLES = {
    "s3-put.json": [[CAT]],
    "sqs-batch.json": [[DOG], ["uploads: gatos/árbol 猫.png"]],
    "sqs-deleted.json": [[CAT], ["uploads: old/dog.jpg"]],
    "sqs-sns.json": [[CAT]],
    "sqs-eventbridge.json": [[DOG]],
    "sqs-test-event.json": [[]],
    "sqs-poison.json": [[], [CAT]],
    "sns-put.json": [[CAT]],
    "eventbridge-created.json": [[DOG]],
    "eventbridge-deleted.json": [[DOG]],
    "batch-operations-1.0.json": [[DOG]],
    "batch-operations-2.0.json": [[DOG]],
}
NIGHTLY = "nightly.json"  # for the score function, which is started by the clock


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_names_these_objects(name: str) -> None:
    assert deliveries(name) == SAMPLES[name]


def test_only_the_poison_sample_has_a_message_that_cannot_be_understood() -> None:
    poisoned = [name for name in SAMPLES if any(part.malformed for part in parse_request(sample(name)).deliveries)]
    assert poisoned == ["sqs-poison.json"]


def test_the_messages_of_the_samples_carry_their_digests() -> None:
    messages = [message for name in SAMPLES if name.startswith("sqs-") for message in sample(name)["Records"]]
    digests = [hashlib.md5(message["body"].encode()).hexdigest() for message in messages]
    assert digests == [message["md5OfBody"] for message in messages]


def test_every_sample_is_tested_here_and_listed_in_the_readme() -> None:
    samples = {file.name for file in (ROOT / "events").glob("*.json")}
    listed = set(re.findall(r"^\| `([\w.-]+\.json)`", (ROOT / "events/README.md").read_text(encoding="utf-8"), re.M))
    assert samples == listed == {*SAMPLES, NIGHTLY}


# ---- the console's questions --------------------------------------------------------------------------


def test_the_console_asks_for_every_parameter_once_by_a_label_and_for_what_everybody_needs_first() -> None:
    # CloudFormation user guide, AWS::CloudFormation::Interface.
    interface = TEMPLATE_CONTENT["Metadata"]["AWS::CloudFormation::Interface"]
    asked = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(asked) == sorted(PARAMETERS) == sorted(interface["ParameterLabels"])
    assert asked[:3] == ["AlarmEmail", "MemorySize", "MinimumAccuracy"]
    assert all(
        entry["default"] for entry in (*interface["ParameterLabels"].values(), interface["ParameterGroups"][0]["Label"])
    )
