"""The trained networks in onnxruntime: pixels -> Prediction."""

import hashlib
import json
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from labeller.manifest import (
    EXEMPLARS_FILE,
    FAMILIARITY_OUTPUT,
    FAMILIARITY_TOLERANCE,
    GLANCE_FILE,
    INPUT_NAME,
    MANIFEST_FILE,
    MODEL_FILE,
    NEAREST_OUTPUT,
    OUTPUT_NAME,
    SIMILARITY_OUTPUT,
    TOLERANCE,
    GoldenExample,
    Manifest,
    ModelError,
    read_file,
)
from labeller.results import Neighbour, Prediction, Thresholds

Exemplar = tuple[str, str]
"""Path and label of a training picture that the network compares pictures with."""

_OPTIONAL_OUTPUTS = {
    FAMILIARITY_OUTPUT: "tensor(float) of 1 dimensions",
    NEAREST_OUTPUT: "tensor(int32) of 2 dimensions",
    SIMILARITY_OUTPUT: "tensor(float) of 2 dimensions",
}


@dataclass(frozen=True, slots=True)
class Outputs:
    """Raw answers for N pictures; None for outputs that the network does not have."""

    logits: NDArray[np.float64]  # [N, labels]
    familiarity: NDArray[np.float64] | None  # [N], 0..1
    nearest: NDArray[np.int32] | None  # [N, K], rows of the exemplars, the most similar first
    similarity: NDArray[np.float32] | None  # [N, K], cosines
    glance: NDArray[np.bool_] | None = None  # [N], whether the glance network answered; None if there is none

    def replaced(self, rows: NDArray[np.bool_], others: "Outputs") -> "Outputs":
        """These answers, but for the `rows` bool [N] the others, in their order."""

        def put(mine: NDArray[Any] | None, theirs: NDArray[Any] | None) -> NDArray[Any] | None:
            if mine is None or theirs is None:
                return None
            merged = mine.copy()
            merged[rows] = theirs
            return merged

        logits = self.logits.copy()
        logits[rows] = others.logits
        return Outputs(
            logits,
            put(self.familiarity, others.familiarity),
            put(self.nearest, others.nearest),
            put(self.similarity, others.similarity),
            ~rows,
        )


class Network:
    """One ONNX file in a session, with what the build got from it: `open_classifier` makes it."""

    def __init__(
        self, session: onnxruntime.InferenceSession, version: str, temperature: float, golden: GoldenExample
    ) -> None:
        self._session, self._version, self._golden = session, version, golden
        self._names = [output.name for output in session.get_outputs()]
        self.temperature = temperature
        self.has_familiarity = FAMILIARITY_OUTPUT in self._names

    def outputs(self, pixels: NDArray[np.uint8]) -> Outputs:
        """The answers for uint8 pixels [N, height, width, 3].

        Raises ModelError if a logit is not finite, or a familiarity not within 0..1.
        """
        values = dict(zip(self._names, self._session.run(self._names, {INPUT_NAME: pixels}), strict=True))
        logits, familiarity = values[OUTPUT_NAME], values.get(FAMILIARITY_OUTPUT)
        if not np.isfinite(logits).all():
            # argmax of NaN is 0: the first label would win, with a confidence of NaN.
            raise ModelError(f"model {self._version} answers with logits that are no finite numbers")
        if familiarity is not None and not ((familiarity >= 0) & (familiarity <= 1)).all():
            raise ModelError(f"model {self._version} answers with a familiarity that is not between 0 and 1")
        return Outputs(
            np.asarray(logits, np.float64),
            None if familiarity is None else np.asarray(familiarity, np.float64),
            values.get(NEAREST_OUTPUT),
            values.get(SIMILARITY_OUTPUT),
        )

    def check_itself(self, size: tuple[int, int]) -> float:
        """Run the golden picture, of `size` (height, width), which also warms the session.

        Returns the largest difference from the build's logits, divided by the temperature. Raises ModelError if it
        exceeds manifest.TOLERANCE, or if familiarity or similarity differ by more than FAMILIARITY_TOLERANCE.
        """
        golden = self._golden
        outputs = self.outputs(golden.pixels(size))
        difference = float(np.abs(outputs.logits[0] - golden.logits).max() / self.temperature)
        if difference > TOLERANCE:
            raise self._failed_check("logits", outputs.logits[0].tolist(), list(golden.logits), difference, TOLERANCE)
        for name, expected, answers in (
            ("familiarity", golden.familiarity, outputs.familiarity),
            ("similarity", golden.similarity, outputs.similarity),
        ):
            if expected is None or answers is None:
                continue
            answer = answers[0]
            moved = float(np.abs(answer - expected).max()) if np.shape(expected) == answer.shape else np.inf
            if not moved <= FAMILIARITY_TOLERANCE:
                raise self._failed_check(name, answer.tolist(), expected, moved, FAMILIARITY_TOLERANCE)
        return difference

    def _failed_check(
        self, name: str, value: object, expected: object, difference: float, allowed: float
    ) -> ModelError:
        return ModelError(
            f"model {self._version} fails its self-check: it answers the golden picture of {MANIFEST_FILE} with the "
            f"{name} {value}, the build got {expected} (difference {difference:.3g}, allowed "
            f"{allowed}). This machine ({platform.machine()}, onnxruntime {onnxruntime.__version__}) computes "
            "something else than the one that built the model, so nothing is labelled. Deploy the libraries that "
            "the model was built with (`make layer`); `make verify-cpus` shows which CPUs agree"
        )


class Classifier:
    """A loaded model: `load_classifier` makes it.

    If it has a glance network, that one is asked first, and the thorough one where the glance network may not answer
    (manifest.Glance). A picture's answer does not depend on the others.
    """

    def __init__(
        self, manifest: Manifest, thorough: Network, exemplars: Sequence[Exemplar] = (), glance: Network | None = None
    ) -> None:
        self._manifest = manifest
        self._exemplars = exemplars
        self.thorough = thorough
        self.glance = glance
        self.input_size = manifest.input_size
        self.labels = manifest.labels
        self.version = manifest.model_version
        self.thresholds = manifest.thresholds
        self.has_familiarity = thorough.has_familiarity

    def predict(self, pixels: NDArray[np.uint8], thresholds: Thresholds | None = None) -> list[Prediction]:
        """The predictions for N pictures; `pixels` is uint8 [N, height, width, 3] from images.decode.

        `thresholds`: those in force, if they are not the model's own.
        """
        expected = (*self.input_size, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise ValueError(
                f"pixels must be uint8 [N, {', '.join(map(str, expected))}], not {pixels.dtype} {list(pixels.shape)}"
            )
        if not len(pixels):
            return []
        outputs = self.outputs(pixels, thresholds)
        return [
            Prediction(
                self.labels[best],
                float(row[best]),
                dict(zip(self.labels, row.tolist(), strict=True)),
                # As rows have it, so that 0.01 in float32 is not below a threshold of 0.01.
                None if outputs.familiarity is None else round(float(outputs.familiarity[index]), 6),
                self.neighbours(outputs, index),
            )
            for index, row in enumerate(softmax(outputs.logits, self._manifest.temperature))
            for best in [int(row.argmax())]
        ]

    def check_itself(self) -> float:
        """The largest difference that `Network.check_itself` returns of the networks. Raises ModelError."""
        networks = (self.thorough, *([self.glance] if self.glance else []))
        return max(network.check_itself(self.input_size) for network in networks)

    def outputs(self, pixels: NDArray[np.uint8], thresholds: Thresholds | None = None) -> Outputs:
        """The answers for uint8 pixels [N, height, width, 3]; all logits are for the manifest's temperature.

        Raises ModelError as `Network.outputs` does.
        """
        if self.glance is None:
            return self.thorough.outputs(pixels)
        answers = self.glance_outputs(pixels)
        others = ~self.may_answer(answers, thresholds)
        if not others.any():
            return replace(answers, glance=~others)
        return answers.replaced(others, self.thorough.outputs(pixels[others]))

    def glance_outputs(self, pixels: NDArray[np.uint8]) -> Outputs:
        """The glance network's answers, which a model must have, for the manifest's temperature."""
        if self.glance is None:
            raise ValueError(f"model {self.version} has no glance network")
        answers = self.glance.outputs(pixels)
        return replace(answers, logits=answers.logits * (self._manifest.temperature / self.glance.temperature))

    def may_answer(self, answers: Outputs, thresholds: Thresholds | None = None) -> NDArray[np.bool_]:
        """Which of the glance network's N answers stand, bool [N].

        A stricter threshold in force than the glance network's counts instead: the thorough network may exceed it.
        """
        glance, in_force = self._manifest.glance, thresholds or self.thresholds
        if glance is None or answers.familiarity is None:
            return np.zeros(len(answers.logits), bool)
        confidence = softmax(answers.logits, self._manifest.temperature).max(axis=1)
        sure = confidence >= max(glance.confidence, in_force.confidence)
        return np.asarray(sure & (answers.familiarity >= max(glance.familiarity, in_force.familiarity or 0.0)))

    def neighbours(self, outputs: Outputs, index: int) -> tuple[Neighbour, ...]:
        """The most similar training pictures of one of the pictures. Raises ModelError for numbers of none."""
        if outputs.nearest is None or outputs.similarity is None:
            return ()
        rows = outputs.nearest[index].tolist()
        if not all(0 <= row < len(self._exemplars) for row in rows):
            raise ModelError(
                f"model {self.version} names the training pictures {rows}, {EXEMPLARS_FILE} has "
                f"{len(self._exemplars)}: the two are not of one build"
            )
        return tuple(
            Neighbour(path, label, similarity)
            for (path, label), similarity in zip(
                (self._exemplars[row] for row in rows), outputs.similarity[index].tolist(), strict=True
            )
        )


def softmax(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Probabilities [N, C], float64, of logits [N, C] divided by `temperature`; each row adds up to 1."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))  # the maximum: exp must not overflow
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def load_classifier(directory: Path, threads: int) -> Classifier:
    """As `open_classifier`, and checked. Raises ModelError also if the network fails the self-check."""
    classifier = open_classifier(directory, threads)
    classifier.check_itself()
    return classifier


def open_classifier(directory: Path, threads: int) -> Classifier:
    """Load the network in `directory`, to be run with `threads` threads on the CPU. Its self-check is the caller's.

    The folder has model.onnx, manifest.json, if that names a glance network glance.onnx, and, if the networks name
    training pictures, exemplars.json. Raises ModelError if a file is missing, or does not match the manifest.
    """
    manifest = Manifest.from_file(directory / MANIFEST_FILE)
    small = manifest.glance
    with ThreadPoolExecutor(1) as thread:  # little of opening a network is Python code: the two take as long as one
        beside = thread.submit(_open, directory / GLANCE_FILE, small.sha256, manifest, threads) if small else None
        session = _open(directory / MODEL_FILE, manifest.model_sha256, manifest, threads)
        names = {output.name for output in session.get_outputs()}
        exemplars = read_exemplars(directory / EXEMPLARS_FILE) if NEAREST_OUTPUT in names else ()
    thorough = Network(session, manifest.model_version, manifest.temperature, manifest.golden)
    if small is None or beside is None:
        return Classifier(manifest, thorough, exemplars)
    _require_same_outputs(directory / GLANCE_FILE, session, beside.result())
    glance = Network(beside.result(), manifest.model_version, small.temperature, small.golden)
    return Classifier(manifest, thorough, exemplars, glance)


def _open(path: Path, sha256: str, manifest: Manifest, threads: int) -> onnxruntime.InferenceSession:
    content = read_file(path)
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise ModelError(
            f"{path} has the SHA-256 {digest}, {MANIFEST_FILE} expects {sha256}: "
            "the two are not of one build. Run `make model layer` again and deploy the layer as a whole"
        )
    session = open_session(content, path, threads)
    _check_fit(session, manifest, path)
    return session


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
    if (OUTPUT_NAME, "tensor(float)", [len(labels)]) not in [(name, kind, shape[1:]) for name, kind, shape in outputs]:
        raise ModelError(
            f"{path}: its output must be {OUTPUT_NAME!r}, tensor(float) [N, {len(labels)}], one logit for each label "
            f"of {MANIFEST_FILE} ({', '.join(labels)}), it has {outputs}"
        )
    kinds = {name: f"{kind} of {len(shape)} dimensions" for name, kind, shape in outputs}
    for name, expected in _OPTIONAL_OUTPUTS.items():
        is_needed = name == FAMILIARITY_OUTPUT and manifest.familiarity_threshold is not None
        if kinds.get(name, expected) != expected or (is_needed and name not in kinds):
            raise ModelError(
                f"{path}: with the familiarity_threshold {manifest.familiarity_threshold} of {MANIFEST_FILE}, its "
                f"output {name!r} must be {expected}, it has {kinds}"
            )


def _require_same_outputs(path: Path, *sessions: onnxruntime.InferenceSession) -> None:
    needed, given = (
        {output.name: (output.type, *output.shape[1:]) for output in session.get_outputs()} for session in sessions
    )
    if given != needed or FAMILIARITY_OUTPUT not in needed:
        raise ModelError(
            f"{path}: its outputs must be those of {MODEL_FILE}, {FAMILIARITY_OUTPUT!r} among them, {needed}, it has "
            f"{given}"
        )


def read_exemplars(path: Path) -> tuple[Exemplar, ...]:
    """The training pictures that the network names by number. Raises ModelError."""
    try:
        return tuple((str(row["path"]), str(row["label"])) for row in json.loads(read_file(path)))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f'{path} must be a list of {{"path": ..., "label": ...}}: {error!r}') from error
