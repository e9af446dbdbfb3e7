import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import vgg16 as keras_vgg16
from keras.src.utils import file_utils

from model_build import base as base_module
from model_build.base import Base, WeightsError, export_base, load, on_rgb_pixels, sha256_of_values
from model_build.config import KERAS_WEIGHTS, BuildConfig
from tests.model_build.narrow import narrow_vgg

SIZE = 32


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))


@pytest.fixture(scope="module")
def weight_file(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's weights in the layout of the Keras application's own file (Keras 1 and 2's HDF5)."""
    path = tmp_path_factory.mktemp("weights") / "notop.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        file.attrs["keras_version"], file.attrs["backend"] = b"2.0.0", b"tensorflow"
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{which}_1:0".encode() for which in ("W", "b")][: len(layer.get_weights())]
            group.attrs["weight_names"] = names
            for name, values in zip(names, layer.get_weights(), strict=True):
                group[name.decode()] = values
    return path


def kernels(model: keras.Model) -> list[np.ndarray]:
    return [values for values in model.get_weights() if values.ndim == 4]


def test_rgb_pixels_give_the_output_of_keras_preprocessing_and_network() -> None:
    reference, wrapped = narrow_vgg(64, seed=3), on_rgb_pixels(narrow_vgg(64, seed=3))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    expected = reference.predict(keras.applications.vgg16.preprocess_input(pixels.astype(np.float32)), verbose=0)
    np.testing.assert_allclose(wrapped.predict(pixels, verbose=0), expected, rtol=1e-3, atol=1e-3)
    assert {operation.output.dtype for operation in wrapped.operations} == {
        "uint8",
        "float32",
    }  # nothing is computed in float64
    assert expected.std() > 0.1  # a silent network would agree with anything


def test_the_base_is_frozen() -> None:
    assert load("random", SIZE, seed=1).network.trainable_weights == []


def test_random_weights_follow_the_seed() -> None:
    first, second, other = (load("random", SIZE, seed) for seed in (1, 1, 2))
    assert first.sha256 == second.sha256 != other.sha256
    assert first.origin == "random"


def test_a_file_in_the_keras_layout_is_loaded(network: keras.Model, weight_file: Path) -> None:
    base = load(str(weight_file), SIZE, seed=0)
    loaded, expected = kernels(base.network), kernels(network)
    assert base.origin == "file"
    assert base.network.input_shape == (None, SIZE, SIZE, 3)
    np.testing.assert_array_equal(loaded[0], expected[0][:, :, ::-1, :])  # RGB instead of BGR
    for got, wanted in zip(loaded[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_weights_are_imagenet_s_by_their_values_whatever_file_holds_them(
    network: keras.Model, weight_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_module, "IMAGENET_SHA256", sha256_of_values(network))
    assert load(str(weight_file), SIZE, seed=0).origin == "imagenet"


def test_the_known_digest_is_written_as_digests_of_weights_are(network: keras.Model) -> None:
    for digest in (base_module.IMAGENET_SHA256, sha256_of_values(network)):
        assert re.fullmatch(r"[0-9a-f]{64}", digest)


def test_a_base_is_exported_once_for_each_of_its_weights_and_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(network: keras.Model, _input: str, _output: str, path: Path) -> None:
        exports.append(path)
        path.write_text(str(network))

    exports: list[Path] = []
    monkeypatch.setattr(base_module.export, "export", export)
    config = BuildConfig(tmp_path, image_size=32, cache=tmp_path / "cache")
    bases = [("A at 32", "a", 32), ("B at 32", "b", 32), ("A at 64", "a", 64), ("A at 32", "a", 32)]
    for network, sha256, size in bases:
        path = tmp_path / "base.onnx"
        export_base(Base(network, "file", sha256), replace(config, image_size=size), path)
        assert path.read_text() == network
    assert len(exports) == 3


def test_the_address_in_the_messages_is_keras_own() -> None:
    assert KERAS_WEIGHTS == keras_vgg16.WEIGHTS_PATH_NO_TOP


def test_a_truncated_file_is_an_error(weight_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "cut.h5"
    broken.write_bytes(weight_file.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match=r"cut\.h5 does not hold the weights of VGG16.*truncated"):
        load(str(broken), SIZE, seed=0)


def test_the_weights_of_another_network_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(WeightsError, match="does not hold the weights of VGG16"):
        load(str(path), SIZE, seed=0)


def test_the_weights_of_a_deeper_network_of_the_same_family_are_an_error(
    network: keras.Model, weight_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "vgg19.h5"
    path.write_bytes(weight_file.read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [*(layer.name.encode() for layer in network.layers), b"block5_conv4"]
        file.copy("block5_conv3", "block5_conv4")
    with pytest.raises(WeightsError, match="does not hold the weights of VGG16"):
        load(str(path), SIZE, seed=0)


def test_weights_that_are_not_finite_are_an_error(weight_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "nan.h5"
    path.write_bytes(weight_file.read_bytes())
    with h5py.File(path, "a") as file:
        file["block3_conv2/block3_conv2_W_1:0"][0, 0, 0, 0] = np.nan
    with pytest.raises(WeightsError, match=r"nan\.h5 are damaged: some are not finite numbers"):
        load(str(path), SIZE, seed=0)


@pytest.fixture
def download(weight_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Keras's download from a local server into a separate cache."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(weight_file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{weight_file.name}"
        monkeypatch.setattr(keras_vgg16, "WEIGHTS_PATH_NO_TOP", address)
        monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path / "keras"))
        yield server
        server.shutdown()


@pytest.fixture
def known_checksum(weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other file has the checksum in Keras, so it is replaced by the checksum of the served file."""
    get_file = file_utils.get_file
    digest = hashlib.md5(weight_file.read_bytes()).hexdigest()
    monkeypatch.setattr(keras_vgg16.file_utils, "get_file", lambda *a, **k: get_file(*a, **{**k, "file_hash": digest}))


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """The path of Keras's download."""
    path = tmp_path / "keras/models/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.parent.mkdir(parents=True)
    return path


def test_a_download_that_is_not_keras_file_fails_its_checksum(download: ThreadingHTTPServer) -> None:
    with pytest.raises(WeightsError, match=r"could not be downloaded.*--weights PATH"):
        load("imagenet", SIZE, seed=0)


def test_a_download_with_the_right_checksum_is_used(
    download: ThreadingHTTPServer, known_checksum: None, network: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_module, "IMAGENET_SHA256", sha256_of_values(network))
    base = load("imagenet", SIZE, seed=0)
    assert base.origin == "imagenet"
    np.testing.assert_array_equal(kernels(base.network)[-1], kernels(network)[-1])


def test_a_file_in_the_keras_cache_is_used_without_a_network(
    download: ThreadingHTTPServer,
    known_checksum: None,
    network: keras.Model,
    weight_file: Path,
    cached: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cached.write_bytes(weight_file.read_bytes())
    monkeypatch.setattr(keras_vgg16, "WEIGHTS_PATH_NO_TOP", "http://127.0.0.1:9/none.h5")  # nothing listens there
    np.testing.assert_array_equal(kernels(load("imagenet", SIZE, seed=0).network)[-1], kernels(network)[-1])


def test_a_partial_download_in_the_keras_cache_is_downloaded_again(
    download: ThreadingHTTPServer, known_checksum: None, network: keras.Model, weight_file: Path, cached: Path
) -> None:
    cached.write_bytes(weight_file.read_bytes()[:5000])
    np.testing.assert_array_equal(kernels(load("imagenet", SIZE, seed=0).network)[-1], kernels(network)[-1])
    assert cached.read_bytes() == weight_file.read_bytes()


def test_a_missing_network_is_an_error_with_a_remedy(
    download: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_vgg16, "WEIGHTS_PATH_NO_TOP", "http://127.0.0.1:9/none.h5")  # nothing listens there
    with pytest.raises(
        WeightsError, match=r"Keras cache.*Try again.*download https://.*notop\.h5, copy it here and name it"
    ):
        load("imagenet", SIZE, seed=0)
