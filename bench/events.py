"""The classify function as the bench runs it, and the events that it gets."""

import json
from typing import Any

from layers import ROOT
from layers.wheels import PYTHON_VERSION
from local.aws.stack import Function


def classify_function(model_dir: str, threads: int) -> Function:
    """The function of template.yaml, apart from AWS."""
    return Function(
        name="classify",
        arn="arn:aws:lambda:eu-central-1:123456789012:function:classify",
        handler="classify.app.lambda_handler",
        runtime=f"python{PYTHON_VERSION}",
        architecture="x86_64",
        timeout=60,
        memory=3008,
        log_group="/aws/lambda/classify",
        environment={
            "RESULTS_TABLE": "results",
            "MODEL_DIR": model_dir,
            "ONNX_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": "1",
            "POWERTOOLS_SERVICE_NAME": "classify",
            "POWERTOOLS_METRICS_NAMESPACE": "Bench",
        },
    )


def upload_batch(count: int) -> dict[str, Any]:
    """An SQS batch of uploads of the objects 0.jpg, 1.jpg, ...: a message of events/sqs-batch.json, repeated."""
    message = json.loads((ROOT / "events" / "sqs-batch.json").read_text("utf-8"))["Records"][0]
    notification = json.loads(message["body"])
    records = []
    for number in range(count):
        notification["Records"][0]["s3"]["object"]["key"] = f"{number}.jpg"
        records.append(message | {"messageId": f"message-{number}", "body": json.dumps(notification)})
    return {"Records": records}
