"""template.yaml is sound, and agrees with the code that it deploys."""

from __future__ import annotations

import ast
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
from labeller.records import Tagging, item_for, unreadable
from labeller.settings import Settings, SettingsError
from model_build import package_layer
from tests.support import ROOT, TEMPLATE, load_template

TEMPLATE_CONTENT = load_template()
PARAMETERS = TEMPLATE_CONTENT["Parameters"]
RESOURCES = TEMPLATE_CONTENT["Resources"]

POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}

# What IAM asks for each call of labeller.storage: S3 user guide, "Required permissions for Amazon S3 API
# operations" (the second action where the request names a version), and the DynamoDB developer guide.
ACTIONS = {
    "get_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "head_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "get_object_tagging": {"s3:GetObjectTagging", "s3:GetObjectVersionTagging"},
    "put_object_tagging": {"s3:PutObjectTagging", "s3:PutObjectVersionTagging"},
    "get_item": {"dynamodb:GetItem"},
    "put_item": {"dynamodb:PutItem"},
    "put_events": {"events:PutEvents"},
}


def properties(logical_id: str) -> dict[str, Any]:
    return RESOURCES[logical_id]["Properties"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == kind}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def functions() -> list[dict[str, Any]]:
    return list(of_type("AWS::Serverless::Function").values())


def allowing(policy_document: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for s in policy_document["Statement"] if s["Effect"] == "Allow"]


def role_statements() -> list[dict[str, Any]]:
    return [s for p in properties("ClassifyRole")["Policies"] for s in allowing(p["PolicyDocument"])]


def environment(memory: int) -> dict[str, str]:
    """The function's environment as CloudFormation passes it, all other parameters at their defaults."""
    variables = properties("ClassifyFunction")["Environment"]["Variables"]

    def value(given: Any) -> str:
        if isinstance(given, str):
            return given
        if "Fn::FindInMap" in given:
            name, key, member = given["Fn::FindInMap"]
            assert key == {"Ref": "MemorySize"}
            return TEMPLATE_CONTENT["Mappings"][name][str(memory)][member]
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
    assert set(environment(1769)) == settings.NAMES | POWERTOOLS


@pytest.mark.parametrize("memory", PARAMETERS["MemorySize"]["AllowedValues"])
def test_the_defaults_of_the_parameters_are_those_of_settings(memory: int) -> None:
    passed = environment(memory)
    threads = passed.pop("ONNX_THREADS")
    defaults = Settings.from_env({"RESULTS_TABLE": "the ResultsTable", "ONNX_THREADS": threads})
    assert Settings.from_env(passed | {"ONNX_THREADS": threads}) == defaults


@pytest.mark.parametrize("memory", PARAMETERS["MemorySize"]["AllowedValues"])
def test_onnxruntime_gets_one_thread_for_each_vcpu_that_the_memory_buys(memory: int) -> None:
    # AWS Lambda developer guide, "Configure Lambda function memory": 1,769 MB are equivalent to one vCPU.
    assert int(environment(memory)["ONNX_THREADS"]) == round(memory / 1769)


def test_the_largest_memory_has_the_six_vcpus_that_aws_documents() -> None:
    assert environment(10240)["ONNX_THREADS"] == "6"
    assert set(TEMPLATE_CONTENT["Mappings"]["ThreadsByMemory"]) == {
        str(memory) for memory in PARAMETERS["MemorySize"]["AllowedValues"]
    }


def test_the_default_memory_buys_more_than_one_vcpu_and_is_open_to_new_accounts() -> None:
    assert 1769 < PARAMETERS["MemorySize"]["Default"] <= 3008


@pytest.mark.parametrize(
    ("variable", "parameter"),
    [
        ("MAX_IMAGE_BYTES", "MaxImageBytes"),
        ("MAX_IMAGE_PIXELS", "MaxImagePixels"),
        ("ROW_TTL_DAYS", "RowTtlDays"),
    ],
)
def test_settings_accept_what_the_parameters_allow(variable: str, parameter: str) -> None:
    for limit in ("MinValue", "MaxValue"):
        Settings.from_env({"RESULTS_TABLE": "t", variable: str(PARAMETERS[parameter][limit])})


def test_the_template_allows_no_pixels_that_settings_refuse() -> None:
    with pytest.raises(SettingsError):
        Settings.from_env({"RESULTS_TABLE": "t", "MAX_IMAGE_PIXELS": str(PARAMETERS["MaxImagePixels"]["MaxValue"] + 1)})


@pytest.mark.parametrize("prefix", ["image-label", "Team_1/label.of", "a" * 100])
def test_settings_accept_the_tag_prefixes_that_the_template_allows(prefix: str) -> None:
    assert re.fullmatch(PARAMETERS["TagPrefix"]["AllowedPattern"], prefix)
    assert len(prefix) <= PARAMETERS["TagPrefix"]["MaxLength"]
    assert Settings.from_env({"RESULTS_TABLE": "t", "TAG_PREFIX": prefix}).tag_prefix == prefix


@pytest.mark.parametrize("prefix", ["", "aws:label", "label prefix", "étiquette", "1st"])
def test_the_template_refuses_these_tag_prefixes(prefix: str) -> None:
    assert not re.fullmatch(PARAMETERS["TagPrefix"]["AllowedPattern"], prefix)


@pytest.mark.parametrize(("text", "threshold"), [("", None), ("0", 0.0), ("1", 1.0), ("0.95", 0.95), (".5", 0.5)])
def test_settings_accept_the_confidence_thresholds_that_the_template_allows(text: str, threshold: float | None) -> None:
    assert re.fullmatch(PARAMETERS["ConfidenceThreshold"]["AllowedPattern"], text)
    settings_read = Settings.from_env({"RESULTS_TABLE": "t", "CONFIDENCE_THRESHOLD": text})
    assert settings_read.confidence_threshold == threshold


@pytest.mark.parametrize("text", ["1.5", "-0.1", "95", "95%", "0,95", " ", "none"])
def test_the_template_refuses_these_confidence_thresholds(text: str) -> None:
    assert not re.fullmatch(PARAMETERS["ConfidenceThreshold"]["AllowedPattern"], text)


def test_rows_carry_the_keys_of_the_table_and_its_ttl_attribute() -> None:
    table = properties("ResultsTable")
    keys = {entry["KeyType"]: entry["AttributeName"] for entry in table["KeySchema"]}
    types = {entry["AttributeName"]: entry["AttributeType"] for entry in table["AttributeDefinitions"]}
    ref = ObjectRef("uploads", "a b/c.jpg", None, "0055", "2026-11-24T08:00:00.000Z", 1, None)
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


def test_the_role_allows_what_storage_calls_and_nothing_else() -> None:
    tree = ast.parse((ROOT / "functions/labeller/storage.py").read_text(encoding="utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) in ("self._s3", "self._dynamodb", "self._events")
    }
    needed = set().union(*(ACTIONS[name] for name in called)) | {"s3:ListBucket"}
    allowed = {action for s in role_statements() for action in as_list(s["Action"])}
    assert {action for action in allowed if action.startswith(("s3:", "dynamodb:", "events:"))} == needed


def test_the_layers_are_the_folders_that_package_layer_fills() -> None:
    assert all(f["Layers"] == [{"Ref": "LibrariesLayer"}, {"Ref": "ModelLayer"}] for f in functions())
    assert ROOT / properties("LibrariesLayer")["ContentUri"] == package_layer.OUT / "libraries"
    assert ROOT / properties("ModelLayer")["ContentUri"] == package_layer.OUT / "model"
    # No BuildMethod: `sam build` takes the folders as they are.
    assert all("Metadata" not in RESOURCES[name] for name in ("LibrariesLayer", "ModelLayer"))


def test_the_layers_are_packaged_for_the_runtime_of_the_functions() -> None:
    runtime, architecture = f"python{package_layer.PYTHON_VERSION}", package_layer.ARCHITECTURE
    for function in functions():
        assert (function["Runtime"], function["Architectures"]) == (runtime, [architecture])
    for layer in of_type("AWS::Serverless::LayerVersion").values():
        assert (layer["CompatibleRuntimes"], layer["CompatibleArchitectures"]) == ([runtime], [architecture])


def test_the_makefile_ships_the_sources_and_nothing_else(tmp_path: Path) -> None:
    source, artifacts = tmp_path / "source", tmp_path / "artifacts"
    for file in (
        "classify/app.py",
        "labeller/events.py",
        "labeller/__pycache__/events.pyc",
        "labeller/notes.txt",
    ):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text("# " + file)
    artifacts.mkdir()
    (source / "Makefile").write_bytes((ROOT / "functions/Makefile").read_bytes())
    subprocess.run(
        ["make", "--silent", "-C", source, "build-ClassifyFunction", f"ARTIFACTS_DIR={artifacts}"], check=True
    )
    shipped = {str(file.relative_to(artifacts)) for file in artifacts.rglob("*") if file.is_file()}
    assert shipped == {"classify/app.py", "labeller/events.py"}


# ---- nothing lost -------------------------------------------------------------------------------------


def test_a_message_stays_hidden_for_six_timeouts_of_the_function() -> None:
    # AWS Lambda developer guide, "Creating and configuring an Amazon SQS event source mapping".
    function = properties("ClassifyFunction")
    source = function["Events"]["Uploads"]["Properties"]
    window = source.get("MaximumBatchingWindowInSeconds", 0)
    assert properties("UploadsQueue")["VisibilityTimeout"] >= 6 * function["Timeout"] + window


def test_failed_messages_come_back_alone_and_end_in_the_dead_letter_queue() -> None:
    source = properties("ClassifyFunction")["Events"]["Uploads"]["Properties"]
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


# ---- nothing open -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", of_type("AWS::S3::Bucket").values())
def test_buckets_are_encrypted_private_and_without_acls(bucket: dict[str, Any]) -> None:
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
    names = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(names, True)
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_queues_and_the_table_are_encrypted() -> None:
    assert all(queue["SqsManagedSseEnabled"] is True for queue in of_type("AWS::SQS::Queue").values())
    assert properties("ResultsTable")["SSESpecification"] == {"SSEEnabled": True}


def test_bucket_and_queues_refuse_requests_without_tls() -> None:
    policies = [*of_type("AWS::S3::BucketPolicy").values(), *of_type("AWS::SQS::QueuePolicy").values()]
    guarded = []
    for policy in policies:
        (deny,) = (s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Deny")
        assert deny["Principal"] == "*"
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        guarded += as_list(deny["Resource"])
    assert {"Fn::GetAtt": ["UploadsBucket", "Arn"]} in guarded
    assert {"Fn::Sub": "${UploadsBucket.Arn}/*"} in guarded
    assert all({"Fn::GetAtt": [name, "Arn"]} in guarded for name in of_type("AWS::SQS::Queue"))


def test_only_our_bucket_in_our_account_may_send_to_the_queue() -> None:
    (allow,) = allowing(properties("UploadsQueuePolicy")["PolicyDocument"])
    assert allow["Principal"] == {"Service": "s3.amazonaws.com"}
    assert allow["Action"] == "sqs:SendMessage"
    name = properties("UploadsBucket")["BucketName"]["Fn::Sub"]
    assert allow["Condition"] == {
        "ArnEquals": {"aws:SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:s3:::" + name}},
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
    }


def test_the_role_names_every_action_and_every_resource() -> None:
    actions = [action for s in role_statements() for action in as_list(s["Action"])]
    assert not [action for action in actions if "*" in action]
    unlimited = [s["Action"] for s in role_statements() if "*" in as_list(s["Resource"])]
    # X-Ray has no resources to name for these: service authorization reference, "AWS X-Ray".
    assert unlimited == [["xray:PutTraceSegments", "xray:PutTelemetryRecords"]]
    assert "ManagedPolicyArns" not in properties("ClassifyRole")
    assert "Policies" not in properties("ClassifyFunction")  # SAM would ignore them beside Role


# ---- events/ ------------------------------------------------------------------------------------------


def sample(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "events" / name).read_text(encoding="utf-8"))


def bodies(name: str) -> list[str]:
    return [record["body"] for record in sample(name)["Records"]]


def keys(notification: object) -> list[str]:
    return [f"{ref.bucket}: {ref.key}" for ref in parse_request(notification).refs]


def test_the_raw_sample_names_one_picture() -> None:
    assert keys(sample("s3-put.json")) == ["uploads: cat.jpg"]


def test_the_batch_sample_holds_keys_as_s3_encodes_them() -> None:
    found = [key for body in bodies("sqs-batch.json") for key in keys(json.loads(body))]
    assert found == ["uploads: 2026/summer holiday/dog + cat (1).jpg", "uploads: gatos/árbol 猫.png"]


def test_the_test_event_sample_names_nothing() -> None:
    assert [keys(json.loads(body)) for body in bodies("sqs-test-event.json")] == [[]]


def test_the_poison_sample_has_one_message_that_is_cut_off_and_a_sound_one() -> None:
    broken, sound = bodies("sqs-poison.json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken)
    assert keys(json.loads(sound)) == ["uploads: cat.jpg"]


def test_every_sample_is_tested_here_and_listed_in_the_readme() -> None:
    samples = {file.name for file in (ROOT / "events").glob("*.json")}
    listed = set(re.findall(r"^\| `([\w-]+\.json)`", (ROOT / "events/README.md").read_text(encoding="utf-8"), re.M))
    assert samples == listed == {"s3-put.json", "sqs-batch.json", "sqs-test-event.json", "sqs-poison.json"}
