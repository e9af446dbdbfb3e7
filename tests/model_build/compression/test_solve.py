"""A network with fewer channels and lower ranks gives nearly the same features."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from model_build.compression import network as networks
from model_build.compression import solve
from model_build.compression.low_rank import rank_columns
from model_build.compression.network import ConvNet, Convolution, Shape
from tests.model_build.narrow import load_narrow

pytestmark = pytest.mark.slow

SIZE = 64


@pytest.fixture(scope="module")
def base() -> keras.Model:
    return load_narrow("random", SIZE, 7).network


@pytest.fixture(scope="module")
def full(base: keras.Model) -> ConvNet:
    return networks.from_keras(base)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth random pictures: noise alone has no neighbourhoods."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (48, 8, 8, 3)).astype(np.uint8)
    return coarse.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)


def all_channels(network: ConvNet) -> list[np.ndarray]:
    return [np.arange(width) for width in network.shape.widths]


def whole_kernels(network: ConvNet) -> list[int | None]:
    return [None] * len(network.layers)


def equal_sensitivities(network: ConvNet) -> list[np.ndarray]:
    """An error in any output costs the same."""
    return [np.eye(width) for width in network.shape.widths]


def features(network: ConvNet, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(networks.to_keras(network, SIZE).predict(pixels, verbose=0))


def test_a_network_read_from_keras_and_written_back_gives_the_same_features(
    base: keras.Model, full: ConvNet, pixels: np.ndarray
) -> None:
    np.testing.assert_allclose(features(full, pixels), base.predict(pixels, verbose=0), atol=1e-3)


def test_the_names_of_the_layers_do_not_depend_on_the_networks_made_before(full: ConvNet) -> None:
    names = [[layer.name for layer in networks.to_keras(full, SIZE).layers] for _ in range(2)]
    assert names[0] == names[1]


def test_with_all_channels_kept_the_weights_stay_the_same(full: ConvNet, pixels: np.ndarray) -> None:
    statistics = solve.gather_statistics(full, pixels[:2], 4, seed=1)
    same = solve.shrink(full, statistics, equal_sensitivities(full), all_channels(full), whole_kernels(full))
    for one, other in zip(same.layers, full.layers, strict=True):
        np.testing.assert_array_equal(one.kernels[0], other.kernels[0])
        np.testing.assert_array_equal(one.bias, other.bias)
    assert same.shape == full.shape


def doubled(full: ConvNet, index: int) -> ConvNet:
    """The same network with every channel of a layer duplicated at half the weight, and one dead channel."""
    layers = list(full.layers)
    (kernel,), bias, (after,) = layers[index].kernels, layers[index].bias, layers[index + 1].kernels
    dead = np.zeros((*kernel.shape[:3], 1), np.float32)
    layers[index] = Convolution(
        (np.concatenate([kernel, kernel, dead], axis=3),),
        np.concatenate([bias, bias, [-1.0]]).astype(np.float32),
        layers[index].pooled,
    )
    consumed = np.concatenate([after / 2, after / 2, np.ones_like(after[:, :, :1])], axis=2)
    layers[index + 1] = Convolution((consumed,), layers[index + 1].bias, layers[index + 1].pooled)
    return ConvNet(tuple(layers))


def test_copies_and_dead_channels_are_removed_without_loss(full: ConvNet, pixels: np.ndarray) -> None:
    wide = doubled(full, 5)
    statistics = solve.gather_statistics(wide, pixels, 64, seed=1)
    order = solve.eliminations(statistics, solve.consumptions(wide, equal_sensitivities(wide)))[5]
    kept = all_channels(wide)
    kept[5] = order.kept(16)
    assert sorted(channel % 16 for channel in kept[5]) == list(range(16))  # one of each pair, not the dead one
    smaller = solve.shrink(wide, statistics, equal_sensitivities(wide), kept, whole_kernels(wide))
    assert smaller.shape.widths == full.shape.widths
    target = features(full, pixels)
    error = np.sqrt(((features(smaller, pixels) - target) ** 2).mean()) / target.std()
    assert error < 0.02  # the ridge's share


def error(full: ConvNet, other: ConvNet, pixels: np.ndarray) -> float:
    return float(((features(other, pixels) - features(full, pixels)) ** 2).mean())


def test_solving_the_weights_again_is_better_than_only_removing_channels(full: ConvNet, pixels: np.ndarray) -> None:
    statistics = solve.gather_statistics(full, pixels, 64, seed=1)
    kept = all_channels(full)
    for layer, order in enumerate(solve.eliminations(statistics, solve.consumptions(full, equal_sensitivities(full)))):
        kept[layer] = order.kept(full.shape.widths[layer] * 3 // 4)
    cut = ConvNet(
        tuple(
            Convolution((layer.kernels[0][:, :, before][..., channels],), layer.bias[channels], layer.pooled)
            for layer, before, channels in zip(full.layers, [np.arange(3), *kept[:-1]], kept, strict=True)
        )
    )
    solved = solve.shrink(full, statistics, equal_sensitivities(full), kept, whole_kernels(full))
    assert error(full, solved, pixels) < error(full, cut, pixels) / 4


def of_rank(full: ConvNet, index: int, rank: int) -> ConvNet:
    """The network with a kernel that is the product of a random column and row of that rank."""
    random, layers = np.random.default_rng(6), list(full.layers)
    inputs, width = layers[index].kernels[0].shape[2:]
    column = random.normal(size=(3, inputs, rank)) / np.sqrt(3 * inputs)
    row = random.normal(size=(3, rank, width)) / np.sqrt(3 * rank)
    kernel = np.einsum("hir,wro->hwio", column, row).astype(np.float32)
    layers[index] = Convolution((kernel,), layers[index].bias, layers[index].pooled)
    return ConvNet(tuple(layers))


def test_a_kernel_of_low_rank_becomes_a_column_and_a_row_without_loss(full: ConvNet, pixels: np.ndarray) -> None:
    made = of_rank(full, 5, 4)
    statistics = solve.gather_statistics(made, pixels, 64, seed=1)
    split = solve.column_ranks(made, statistics, equal_sensitivities(made))[5]
    assert split.loss[4] < 1e-3 * split.loss[0] < split.loss[3]
    ranks = whole_kernels(made)
    ranks[5] = 4
    smaller = solve.shrink(made, statistics, equal_sensitivities(made), all_channels(made), ranks)
    assert [kernel.shape[:2] for kernel in smaller.layers[5].kernels] == [(3, 1), (1, 3)]
    assert smaller.shape.ranks == tuple(ranks)
    assert error(made, smaller, pixels) < 1e-3 * features(made, pixels).var()  # the ridge's share


def test_channels_and_ranks_are_lowered_together(full: ConvNet, pixels: np.ndarray) -> None:
    statistics = solve.gather_statistics(full, pixels, 64, seed=1)
    orders = solve.eliminations(statistics, solve.consumptions(full, equal_sensitivities(full)))
    kept = [
        *(order.kept(width * 3 // 4) for order, width in zip(orders, full.shape.widths, strict=False)),
        np.arange(16),
    ]
    ranks: list[int | None] = [None, *([8] * 12)]
    smaller = solve.shrink(full, statistics, equal_sensitivities(full), kept, ranks)
    assert smaller.shape == Shape(tuple(len(channels) for channels in kept), tuple(ranks), full.shape.pooled)
    assert error(full, smaller, pixels) < 0.2 * features(full, pixels).var()


def test_the_column_kept_is_the_one_that_matters_most_to_the_head() -> None:
    # Two outputs, each by a column of its own; inputs equal and independent; the head uses the weaker one only.
    kernel = np.zeros((3, 3, 2, 2))
    kernel[1, :, 0, 0], kernel[1, :, 1, 1] = 1.0, 0.1
    split = rank_columns(kernel, np.eye(6), np.diag([0.0, 1.0]))
    column = split.column(1)[:, 0, :, 0]
    assert np.abs(column[1, 1]) > 100 * np.abs(column[1, 0])
    assert split.loss[0] == pytest.approx(3 * 0.1**2, rel=1e-3)  # three taps of the row
    assert split.loss[1] == pytest.approx(0.0, abs=1e-6)


def test_the_columns_are_scaled_by_a_power_of_their_importance_the_strongest_to_1() -> None:
    # Inputs of variance 1. Two outputs, each by a column of its own, one half as strong as the other: 1 and 0.5 ** 0.6.
    kernel = np.zeros((3, 3, 2, 2))
    kernel[1, :, 0, 0], kernel[1, :, 1, 1] = 20.0, 10.0
    columns = rank_columns(kernel, np.eye(6), np.eye(2)).columns
    np.testing.assert_allclose(np.linalg.norm(columns[:, :2], axis=0), [1, 0.5**0.6], rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(columns[:, 2:], axis=0), 0.001**0.6, rtol=1e-3)  # unused, but not zero


def test_no_channel_between_column_and_row_is_much_larger_than_another() -> None:
    random = np.random.default_rng(9)
    kernel = random.normal(size=(3, 3, 16, 16)) * 0.5 ** np.arange(16)  # a few directions dominate
    split = rank_columns(kernel, np.eye(48), np.eye(16))
    mixed, plain = (
        np.linalg.norm(columns.reshape(48, 12), axis=0) for columns in (split.column(12), split.columns[:, :12])
    )
    assert mixed.max() / mixed.min() < 3 < plain.max() / plain.min()


def test_the_same_seed_gives_the_same_weights(full: ConvNet, pixels: np.ndarray) -> None:
    kept = [np.arange(width // 2) for width in full.shape.widths[:-1]] + [np.arange(full.shape.widths[-1])]
    ranks: list[int | None] = [None, *([4] * 12)]
    one, other = (
        solve.shrink(
            full, solve.gather_statistics(full, pixels[:8], 16, seed=3), equal_sensitivities(full), kept, ranks
        )
        for _ in range(2)
    )
    for first, second in zip(one.layers, other.layers, strict=True):
        for left, right in zip(first.kernels, second.kernels, strict=True):
            np.testing.assert_array_equal(left, right)


def test_the_first_round_is_least_squares_with_an_intercept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "RIDGE", 1e-12)
    random = np.random.default_rng(2)
    inputs = random.normal(1.0, 1.0, (300, 18)).astype(np.float32)
    target = random.normal(size=(300, 4)).astype(np.float32)
    kernel, bias = solve.solve_weights(inputs, target, rounds=1)
    expected, *_ = np.linalg.lstsq(np.column_stack([inputs, np.ones(300)]), target, rcond=None)
    np.testing.assert_allclose(kernel, expected[:-1], atol=1e-4)
    np.testing.assert_allclose(bias, expected[-1], atol=1e-4)


def test_more_rounds_lower_the_error_after_the_relu() -> None:
    random = np.random.default_rng(4)
    inputs = random.normal(size=(2000, 27)).astype(np.float32)
    linear = inputs @ random.normal(size=(27, 5)).astype(np.float32) - 3
    target = np.where(linear > 0, linear, 5 * linear)  # linear where positive, bent where negative
    errors = []
    for rounds in (1, 2, 4, 8):
        kernel, bias = solve.solve_weights(inputs, target, rounds)
        outputs = inputs @ kernel + bias
        errors.append(((np.maximum(outputs, 0) - np.maximum(target, 0)) ** 2).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2


def test_a_patch_times_the_kernel_is_the_convolutions_output(full: ConvNet, pixels: np.ndarray) -> None:
    activations = solve.centred(pixels[:2])
    positions = np.array([[[0, 0], [5, 63]], [[63, 63], [10, 11]]])  # corners, an edge and the middle
    layer = full.layers[0]
    products = solve.patches(activations, positions, 3, 3) @ layer.kernels[0].reshape(27, -1) + layer.bias
    outputs = np.asarray(layer.outputs(activations))
    expected = [outputs[0, 0, 0], outputs[0, 5, 63], outputs[1, 63, 63], outputs[1, 10, 11]]
    np.testing.assert_allclose(products, expected, atol=1e-2)


def test_column_and_row_patches_match_kernels_of_their_shape(full: ConvNet, pixels: np.ndarray) -> None:
    activations = solve.centred(pixels[:1])
    positions = np.array([[[0, 0], [63, 5], [30, 63]]])
    random = np.random.default_rng(8)
    for height, width in ((3, 1), (1, 3)):
        kernel = random.normal(size=(height, width, 3, 2)).astype(np.float32)
        outputs = np.asarray(Convolution((kernel,), np.zeros(2, np.float32)).outputs(activations))
        products = solve.patches(activations, positions, height, width) @ kernel.reshape(9, 2)
        np.testing.assert_allclose(products, [outputs[0, 0, 0], outputs[0, 63, 5], outputs[0, 30, 63]], atol=1e-2)


def test_a_sensitivity_is_the_effect_of_a_small_error_on_the_logits(full: ConvNet, pixels: np.ndarray) -> None:
    keras.utils.set_random_seed(1)
    head = keras.Sequential(
        [keras.Input((2, 2, 16)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, use_bias=False)]
    )
    (kernel,) = head.get_weights()
    last = solve.sensitivities(full, pixels, head, seed=1)[-1]
    # The centred logits are +-d/2 with d = their difference, so random signs give 0 or +-d, half the time each. Of
    # each 2 x 2 positions, pooling takes the largest; the head averages 2 x 2 of these.
    difference = (kernel[:, 0] - kernel[:, 1]) / 4
    activations = solve.centred(pixels)
    for layer in full.layers:
        activations = np.asarray(layer(activations))
    positive_positions = (activations > 0).sum(axis=(1, 2)).mean(axis=0)  # of the four of an image
    expected = difference**2 * positive_positions / 2
    np.testing.assert_allclose(np.diag(last), expected, rtol=0.5, atol=0.05 * expected.max())  # the signs are random


def test_multiplications_are_counted_by_hand() -> None:
    whole, column, row = (np.zeros(shape, np.float32) for shape in ((3, 3, 3, 8), (3, 1, 8, 5), (1, 3, 5, 16)))
    made = ConvNet(
        (Convolution((whole,), np.zeros(8), pooled=True), Convolution((column, row), np.zeros(16, np.float32)))
    )
    assert made.shape.sides(64) == [64, 32]  # after the pooling
    kernels = [(64 * 64, 9, 3, 8), (32 * 32, 3, 8, 5), (32 * 32, 3, 5, 16)]  # positions, taps, inputs, outputs
    assert made.shape.cost(64) == sum(n * (taps * i * o + 15 * i + 32 * o) for n, taps, i, o in kernels)
    assert made.shape.multiplications(64) == 64 * 64 * 9 * 3 * 8 + 32 * 32 * 3 * (8 * 5 + 5 * 16)
    assert made.shape == Shape((8, 16), (None, 5), (True, False))


def test_a_base_with_other_layers_is_refused() -> None:
    image = keras.Input((32, 32, 3))
    other = keras.Model(image, keras.layers.Conv2D(4, 5, padding="same")(image))
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    with pytest.raises(networks.StructureError, match="conv2d"):
        networks.from_keras(keras.Model(pixels, other(keras.ops.cast(pixels, "float32"))))
