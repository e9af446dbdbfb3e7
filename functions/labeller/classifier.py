"""The trained network in onnxruntime: pixels -> Prediction."""

import hashlib
import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from labeller.manifest import (
    INPUT_NAME,
    MANIFEST_FILE,
    MODEL_FILE,
    OUTPUT_NAME,
    TOLERANCE,
    Manifest,
    ModelError,
    read_file,
)
from labeller.results import Prediction


class Classifier:
    """A loaded network: `load_classifier` makes it."""

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession) -> None:
        self._manifest = manifest
        self._session = session
        self.input_size = manifest.input_size
        self.labels = manifest.labels
        self.version = manifest.model_version
        self.confidence_threshold = manifest.confidence_threshold

    def predict(self, pixels: NDArray[np.uint8]) -> list[Prediction]:
        """The predictions for N pictures; `pixels` is uint8 [N, height, width, 3] from images.decode."""
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
        """Run the golden picture of the manifest, which also warms the session.

        Returns the largest difference from the build's logits, divided by the temperature. Raises ModelError if it
        exceeds manifest.TOLERANCE.
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
            # argmax of NaN is 0: the first label would win, with a confidence of NaN.
            raise ModelError(f"model {self.version} answers with logits that are no finite numbers")
        return np.asarray(logits, np.float64)


def softmax(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Probabilities [N, C], float64, of logits [N, C] divided by `temperature`; each row adds up to 1."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))  # the maximum: exp must not overflow
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def load_classifier(directory: Path, threads: int) -> Classifier:
    """Load the network in `directory` (model.onnx, manifest.json), to be run with `threads` threads on the CPU.

    Raises ModelError if a file is missing, if the network does not match the manifest, or if it fails the self-check.
    """
    manifest = Manifest.from_file(directory / MANIFEST_FILE)
    path = directory / MODEL_FILE
    content = read_file(path)
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
    """A session for the network in `content`, with serving's options. `path` is for messages. Raises ModelError."""
    options = onnxruntime.SessionOptions()
    # Explicit: onnxruntime's automatic count uses the host's cores and ignores the CPU quota.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads sleep: spinning, the default, takes processor time from other threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: warnings would be logged at each cold start
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding's exception classes are not public and share no other base
        raise ModelError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: {error}") from error


def _check_fit(session: onnxruntime.InferenceSession, manifest: Manifest, path: Path) -> None:
    inputs = [(node.name, node.type, list(node.shape)) for node in session.get_inputs()]
    outputs = [(node.name, node.type, list(node.shape)) for node in session.get_outputs()]
    height, width = manifest.input_size
    if (
        len(inputs) != 1
        or inputs[0][:2] != (INPUT_NAME, "tensor(uint8)")
        or inputs[0][2][1:] != [height, width, 3]
        or isinstance(inputs[0][2][0], int)  # a fixed N: no other batch size would run
    ):
        raise ModelError(
            f"{path}: its input must be {INPUT_NAME!r}, tensor(uint8) [N, {height}, {width}, 3] with any N "
            f"(the size is {MANIFEST_FILE}'s), it has {inputs}"
        )
    labels = manifest.labels
    if len(outputs) != 1 or outputs[0][:2] != (OUTPUT_NAME, "tensor(float)") or outputs[0][2][1:] != [len(labels)]:
        raise ModelError(
            f"{path}: its output must be {OUTPUT_NAME!r}, tensor(float) [N, {len(labels)}], one logit for each label "
            f"of {MANIFEST_FILE} ({', '.join(labels)}), it has {outputs}"
        )
