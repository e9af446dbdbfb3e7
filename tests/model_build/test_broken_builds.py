"""A broken build ships nothing, whatever its head has learnt from: kinds of damage, put into a real small build."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from model_build import base, quantize
from model_build.build import (
    Build,
    Quantisation,
    calibrate,
    export_model,
    extract_features,
    learn_familiarity,
    load_frozen_base,
    quantise,
    read_data,
    train_head,
    verify_model,
    write_report,
)
from model_build.calibration import TEMPERATURES, Calibration
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset
from model_build.frozen import FrozenBase
from model_build.progress import Stages
from model_build.quantize import QuantisationError
from model_build.selection import TrainedNetwork
from model_build.strangers import Learnt
from model_build.verify import Verification, VerificationError
from tests.model_build.narrow import load_narrow, of_swapped_colours

pytestmark = pytest.mark.slow

Damage = Callable[[onnx.ModelProto], None]
RANDOM = np.random.default_rng(7)


@dataclass(frozen=True)
class Sound:
    """The results of the stages before export, all sound."""

    build: Build
    data: Dataset
    frozen: FrozenBase
    quantisation: Quantisation
    network: TrainedNetwork
    calibration: Calibration
    learnt: Learnt

    def export(
        self, folder: Path, network: TrainedNetwork | None = None, labels: tuple[str, ...] | None = None
    ) -> Build:
        """Write the files of a finished model, from another network or with other labels."""
        build = begin(self.build.config, folder)
        data = replace(self.data, labels=labels or self.data.labels)
        export_model(build, data, self.frozen, network or self.network, self.calibration, self.learnt.familiarity, None)
        return build

    def verify(self, build: Build, network: TrainedNetwork | None = None, **settings: float) -> Verification:
        """Verify those files against what they should have been made of."""
        network = network or self.network
        build = replace(build, config=replace(build.config, **settings))
        return verify_model(build, self.data, network, None, self.calibration.validation)


def begin(config: BuildConfig, folder: Path) -> Build:
    build = Build(config, folder, Stages(10))
    build.work.mkdir(parents=True)
    return build


@pytest.fixture(scope="module")
def sound(config: BuildConfig, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    build = begin(config, tmp_path_factory.mktemp("sound"))  # base, INT8 and features from the cache of `built`
    data = read_data(build)
    frozen = load_frozen_base(build, data, load_narrow)
    quantisation = quantise(build, data, frozen.fp32)
    network = train_head(build, data, quantisation, extract_features(build, data, quantisation))
    calibration = calibrate(build, data, network)
    learnt = learn_familiarity(build, data, network, calibration)
    return Sound(build, data, frozen, quantisation, network, calibration, learnt)


@pytest.fixture(scope="module")
def exported(sound: Sound, tmp_path_factory: pytest.TempPathFactory) -> Build:
    return sound.export(tmp_path_factory.mktemp("exported"))


def damaged(graph: Path, damage: Damage, path: Path) -> Path:
    model = onnx.load(graph)
    damage(model)
    onnx.save(model, path)
    return path


def kernels(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]


def change(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))


def zero_channels(share: float) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        for kernel in kernels(model):
            values = numpy_helper.to_array(kernel).copy()
            values[RANDOM.permutation(len(values))[: int(share * len(values))]] = 0
            change(kernel, values)

    return damage


def scramble(model: onnx.ModelProto) -> None:
    for kernel in kernels(model):
        values = numpy_helper.to_array(kernel)
        change(kernel, RANDOM.permutation(values.ravel()).reshape(values.shape))


def transpose(model: onnx.ModelProto) -> None:
    for kernel in kernels(model):
        change(kernel, numpy_helper.to_array(kernel).swapaxes(2, 3))


def swap_colours(model: onnx.ModelProto) -> None:
    (first,) = (kernel for kernel in kernels(model) if kernel.dims[1] % 3 == 0)  # of a pixel, or of four
    change(first, of_swapped_colours(numpy_helper.to_array(first)))


def double_a_scale(model: onnx.ModelProto) -> None:
    names = {kernel.name.replace("_quantized", "_scale") for kernel in kernels(model)[6:7]}
    (scale,) = (tensor for tensor in model.graph.initializer if tensor.name in names)
    change(scale, 2 * numpy_helper.to_array(scale))


def halve_the_ranges(model: onnx.ModelProto) -> None:
    scales = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            change(tensor, numpy_helper.to_array(tensor) / 2)


@pytest.mark.parametrize(
    "damage",
    [zero_channels(0.25), zero_channels(0.5), scramble, transpose, swap_colours, double_a_scale, halve_the_ranges],
    ids=[
        "a quarter of the channels zeroed",
        "half of the channels zeroed",
        "kernels scrambled",
        "kernels transposed",
        "red and blue swapped",
        "a layer's scale doubled",
        "ranges halved",
    ],
)
def test_a_damaged_int8_base_is_refused_before_any_head_learns_from_it(
    sound: Sound, tmp_path: Path, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = quantize.quantize

    def quantise_badly(prepared: Path, int8: Path, *arguments: object) -> None:
        really(prepared, int8, *arguments)  # type: ignore[arg-type]
        damaged(int8, damage, int8)

    monkeypatch.setattr(quantize, "quantize", quantise_badly)
    one = sound.build.config.quantisations[:1]
    build = begin(replace(sound.build.config, cache=tmp_path / "cache", quantisations=one), tmp_path)
    with pytest.raises(QuantisationError, match=r"features differ from FP32's by \d+%.*allowed: 30%"):
        quantise(build, sound.data, sound.frozen.fp32)


def test_an_int8_base_that_is_damaged_after_the_comparison_is_refused_too(
    sound: Sound, exported: Build, tmp_path: Path
) -> None:
    int8 = damaged(sound.network.int8, zero_channels(0.25), tmp_path / "int8.onnx")
    with pytest.raises(QuantisationError, match="features differ from FP32's"):
        sound.verify(exported, replace(sound.network, int8=int8))


def test_a_base_that_is_damaged_at_export_is_refused(
    sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = base.export_base

    def export_badly(frozen: base.Base, config: BuildConfig, path: Path) -> None:
        really(frozen, config, path)
        damaged(path, swap_colours, path)

    monkeypatch.setattr(base, "export_base", export_badly)
    with pytest.raises(VerificationError, match=r"exported base and Keras differ by up to .* in feature"):
        load_frozen_base(begin(sound.build.config, tmp_path), sound.data, load_narrow)


def silence(model: onnx.ModelProto) -> None:
    """Every picture gives the same features."""
    for kernel in kernels(model)[-1:]:
        change(kernel, np.zeros_like(numpy_helper.to_array(kernel)))


def test_int8_that_knows_less_than_fp32_is_refused(sound: Sound, exported: Build, tmp_path: Path) -> None:
    mute = replace(sound.network, int8=damaged(sound.network.int8, silence, tmp_path / "int8.onnx"))
    with pytest.raises(VerificationError, match=r"INT8 is right on 20 of 40 .*FP32 on (3[6-9]|40),.*loses too much"):
        sound.verify(exported, mute, largest_error=math.inf)


def test_fp32_that_knows_less_than_int8_is_refused(sound: Sound, exported: Build, tmp_path: Path) -> None:
    mute = replace(sound.network, fp32=damaged(sound.network.fp32, silence, tmp_path / "fp32.onnx"))
    with pytest.raises(VerificationError, match=r"INT8 is right on (3[6-9]|40) of 40 .*FP32 on 20,.*is damaged"):
        sound.verify(exported, mute, largest_error=math.inf)


def test_the_figures_of_fp32_and_int8_are_those_of_their_own_bases(
    sound: Sound, exported: Build, tmp_path: Path
) -> None:
    mute = replace(sound.network, int8=damaged(sound.network.int8, silence, tmp_path / "int8.onnx"))
    accuracy = sound.verify(exported, mute, largest_error=math.inf, accuracy_tolerance=1.0).accuracy["test"]
    assert accuracy.fp32 is not None
    assert accuracy.fp32.correct >= 36
    assert accuracy.int8_on_fp32_images is not None
    assert accuracy.int8_on_fp32_images.correct == 20
    assert accuracy.p_value is not None
    assert accuracy.p_value < 0.001
    assert accuracy.int8.correct >= 36  # the shipped model is sound


def test_a_negated_head_is_refused(sound: Sound, tmp_path: Path) -> None:
    network = sound.network.trained.layers
    weights = network.get_weights()
    try:
        network.set_weights([*weights[:-2], -weights[-2], -weights[-1]])
        with pytest.raises(VerificationError, match=r"right on [0-4] of 40 .* the head is damaged"):
            sound.verify(sound.export(tmp_path))
    finally:
        network.set_weights(weights)


def test_a_finished_graph_with_swapped_colours_is_refused(sound: Sound, tmp_path: Path) -> None:
    int8 = damaged(sound.network.int8, swap_colours, tmp_path / "int8.onnx")
    build = sound.export(tmp_path / "model", replace(sound.network, int8=int8))
    with pytest.raises(VerificationError, match=r"exported graph and Keras differ by up to .* in probability"):
        sound.verify(build)


def test_labels_in_another_order_are_refused(sound: Sound, tmp_path: Path) -> None:
    build = sound.export(tmp_path, labels=("night", "day"))
    with pytest.raises(VerificationError, match=r"labels \('night', 'day'\), the data \('day', 'night'\)"):
        sound.verify(build)


def test_a_golden_answer_of_another_network_is_refused(sound: Sound, tmp_path: Path) -> None:
    path = sound.export(tmp_path).folder / MANIFEST_FILE
    manifest = Manifest.from_file(path)
    golden = replace(manifest.golden, logits=tuple(logit + 1 for logit in manifest.golden.logits))
    path.write_text(replace(manifest, golden=golden).to_json(), "utf-8")
    with pytest.raises(ModelError, match="fails its self-check"):
        sound.verify(replace(sound.build, folder=tmp_path))


def test_the_sound_build_passes(sound: Sound, exported: Build) -> None:
    assert sound.verify(exported).accuracy["test"].int8.correct >= 36


def test_the_report_says_that_the_temperature_is_at_the_bound_of_its_search(sound: Sound, tmp_path: Path) -> None:
    build, network = begin(sound.build.config, tmp_path), sound.network
    calibration = replace(sound.calibration, temperature=TEMPERATURES[1])
    manifest = export_model(build, sound.data, sound.frozen, network, calibration, sound.learnt.familiarity, None)
    verified = verify_model(build, sound.data, network, None, calibration.validation)
    results = (sound.quantisation, None, network, calibration, sound.learnt, None, manifest, verified)
    report = write_report(build, build.config, sound.data, *results)
    assert report.calibration.at_bound
