"""Channels go and kernels lose rank, and what the network says stays, as far as it can."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from model_build.compression import network as chains
from model_build.compression import solve
from model_build.compression.network import Chain, Convolution
from tests.model_build.narrow import load_narrow

pytestmark = pytest.mark.slow

SIZE = 64


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return load_narrow("random", SIZE, 7).network


@pytest.fixture(scope="module")
def chain(network: keras.Model) -> Chain:
    return chains.chain_of(network)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth random pictures: noise alone has no neighbourhoods."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (48, 8, 8, 3)).astype(np.uint8)
    return coarse.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)


def everything(chain: Chain) -> list[np.ndarray]:
    return [np.arange(width) for width in chain.widths]


def whole(chain: Chain) -> list[int | None]:
    return [None] * len(chain.layers)


def alike(chain: Chain) -> list[np.ndarray]:
    """An error in any output costs the same."""
    return [np.eye(width) for width in chain.widths]


def features(chain: Chain, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(chains.network_of(chain, SIZE).predict(pixels, verbose=0))


def test_a_network_taken_apart_and_put_together_says_the_same(
    network: keras.Model, chain: Chain, pixels: np.ndarray
) -> None:
    np.testing.assert_allclose(features(chain, pixels), network.predict(pixels, verbose=0), atol=1e-3)


def test_with_everything_kept_the_weights_are_the_very_same(chain: Chain, pixels: np.ndarray) -> None:
    seen = solve.sample(chain, pixels[:2], 4, seed=1)
    same = solve.thin(chain, seen, alike(chain), everything(chain), whole(chain))
    for one, other in zip(same.layers, chain.layers, strict=True):
        np.testing.assert_array_equal(one.kernels[0], other.kernels[0])
        np.testing.assert_array_equal(one.bias, other.bias)
    assert same.ranks == whole(chain)


def doubled(chain: Chain, index: int) -> Chain:
    """The same network with every channel of a layer there twice, each heard half as much, and one dead channel."""
    layers = list(chain.layers)
    (kernel,), bias, (after,) = layers[index].kernels, layers[index].bias, layers[index + 1].kernels
    dead = np.zeros((*kernel.shape[:3], 1), np.float32)
    layers[index] = Convolution(
        (np.concatenate([kernel, kernel, dead], axis=3),),
        np.concatenate([bias, bias, [-1.0]]).astype(np.float32),
        layers[index].pooled,
    )
    heard = np.concatenate([after / 2, after / 2, np.ones_like(after[:, :, :1])], axis=2)
    layers[index + 1] = Convolution((heard,), layers[index + 1].bias, layers[index + 1].pooled)
    return Chain(tuple(layers))


def test_copies_and_dead_channels_are_found_and_go_without_loss(chain: Chain, pixels: np.ndarray) -> None:
    wide = doubled(chain, 5)
    seen = solve.sample(wide, pixels, 64, seed=1)
    order = solve.eliminations(seen, solve.uses(wide, alike(wide)))[5]
    kept = everything(wide)
    kept[5] = order.kept(16)
    assert sorted(channel % 16 for channel in kept[5]) == list(range(16))  # one of each pair, not the dead one
    thinned = solve.thin(wide, seen, alike(wide), kept, whole(wide))
    assert thinned.widths == chain.widths
    wanted = features(chain, pixels)
    error = np.sqrt(((features(thinned, pixels) - wanted) ** 2).mean()) / wanted.std()
    assert error < 0.02  # the ridge's share


def error(chain: Chain, other: Chain, pixels: np.ndarray) -> float:
    return float(((features(other, pixels) - features(chain, pixels)) ** 2).mean())


def test_solving_again_is_better_than_cutting_alone(chain: Chain, pixels: np.ndarray) -> None:
    seen = solve.sample(chain, pixels, 64, seed=1)
    kept = everything(chain)
    for layer, order in enumerate(solve.eliminations(seen, solve.uses(chain, alike(chain)))):
        kept[layer] = order.kept(chain.widths[layer] * 3 // 4)
    cut = Chain(
        tuple(
            Convolution((layer.kernels[0][:, :, before][..., channels],), layer.bias[channels], layer.pooled)
            for layer, before, channels in zip(chain.layers, [np.arange(3), *kept[:-1]], kept, strict=True)
        )
    )
    solved = solve.thin(chain, seen, alike(chain), kept, whole(chain))
    assert error(chain, solved, pixels) < error(chain, cut, pixels) / 4


def of_rank(chain: Chain, index: int, rank: int) -> Chain:
    """The chain with a kernel that is the product of a random column and row of that rank."""
    random, layers = np.random.default_rng(6), list(chain.layers)
    inputs, width = layers[index].kernels[0].shape[2:]
    column = random.normal(size=(3, inputs, rank)) / np.sqrt(3 * inputs)
    row = random.normal(size=(3, rank, width)) / np.sqrt(3 * rank)
    kernel = np.einsum("hir,wro->hwio", column, row).astype(np.float32)
    layers[index] = Convolution((kernel,), layers[index].bias, layers[index].pooled)
    return Chain(tuple(layers))


def test_a_kernel_of_low_rank_becomes_a_column_and_a_row_without_loss(chain: Chain, pixels: np.ndarray) -> None:
    made = of_rank(chain, 5, 4)
    seen = solve.sample(made, pixels, 64, seed=1)
    split = solve.rankings(made, seen, alike(made))[5]
    assert split.loss[4] < 1e-3 * split.loss[0] < split.loss[3]
    ranks = whole(made)
    ranks[5] = 4
    thinned = solve.thin(made, seen, alike(made), everything(made), ranks)
    assert [kernel.shape[:2] for kernel in thinned.layers[5].kernels] == [(3, 1), (1, 3)]
    assert thinned.ranks == ranks
    assert error(made, thinned, pixels) < 1e-3 * features(made, pixels).var()  # the ridge's share


def test_channels_and_ranks_go_together(chain: Chain, pixels: np.ndarray) -> None:
    seen = solve.sample(chain, pixels, 64, seed=1)
    orders = solve.eliminations(seen, solve.uses(chain, alike(chain)))
    kept = [*(order.kept(width * 3 // 4) for order, width in zip(orders, chain.widths, strict=False)), np.arange(16)]
    ranks: list[int | None] = [None, *([8] * 12)]
    thinned = solve.thin(chain, seen, alike(chain), kept, ranks)
    assert thinned.widths == [len(channels) for channels in kept]
    assert thinned.ranks == ranks
    assert error(chain, thinned, pixels) < 0.2 * features(chain, pixels).var()


def test_the_column_kept_is_the_one_whose_absence_the_head_would_hear() -> None:
    # Two outputs, each by a column of its own; inputs alike and independent; the head listens to the weaker one.
    kernel = np.zeros((3, 3, 2, 2))
    kernel[1, :, 0, 0], kernel[1, :, 1, 1] = 1.0, 0.1
    split = solve.low_rank.rank(kernel, np.eye(6), np.diag([0.0, 1.0]))
    column = split.column(1)[:, 0, :, 0]
    assert np.abs(column[1, 1]) > 100 * np.abs(column[1, 0])
    assert split.loss[0] == pytest.approx(3 * 0.1**2, rel=1e-3)  # three taps of the row
    assert split.loss[1] == pytest.approx(0.0, abs=1e-6)


def test_no_channel_between_column_and_row_is_much_larger_than_another() -> None:
    random = np.random.default_rng(9)
    kernel = random.normal(size=(3, 3, 16, 16)) * 0.5 ** np.arange(16)  # a few directions count, the others hardly
    split = solve.low_rank.rank(kernel, np.eye(48), np.eye(16))
    mixed, plain = (
        np.linalg.norm(columns.reshape(48, 12), axis=0) for columns in (split.column(12), split.columns[:, :12])
    )
    assert mixed.max() / mixed.min() < 3 < plain.max() / plain.min()


def test_the_same_sample_gives_the_same_weights_twice(chain: Chain, pixels: np.ndarray) -> None:
    kept = [np.arange(width // 2) for width in chain.widths[:-1]] + [np.arange(chain.widths[-1])]
    ranks: list[int | None] = [None, *([4] * 12)]
    one, other = (
        solve.thin(chain, solve.sample(chain, pixels[:8], 16, seed=3), alike(chain), kept, ranks) for _ in range(2)
    )
    for first, second in zip(one.layers, other.layers, strict=True):
        for left, right in zip(first.kernels, second.kernels, strict=True):
            np.testing.assert_array_equal(left, right)


def test_the_first_round_is_least_squares_with_an_intercept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "RIDGE", 1e-12)
    random = np.random.default_rng(2)
    inputs = random.normal(1.0, 1.0, (300, 18)).astype(np.float32)
    wanted = random.normal(size=(300, 4)).astype(np.float32)
    kernel, bias = solve.solve(inputs, wanted, rounds=1)
    expected, *_ = np.linalg.lstsq(np.column_stack([inputs, np.ones(300)]), wanted, rcond=None)
    np.testing.assert_allclose(kernel, expected[:-1], atol=1e-4)
    np.testing.assert_allclose(bias, expected[-1], atol=1e-4)


def test_more_rounds_bring_what_comes_through_the_relu_closer() -> None:
    random = np.random.default_rng(4)
    inputs = random.normal(size=(2000, 27)).astype(np.float32)
    linear = inputs @ random.normal(size=(27, 5)).astype(np.float32) - 3
    wanted = np.where(linear > 0, linear, 5 * linear)  # linear where the ReLU lets it through, bent where it does not
    errors = []
    for rounds in (1, 2, 4, 8):
        kernel, bias = solve.solve(inputs, wanted, rounds)
        given = inputs @ kernel + bias
        errors.append(((np.maximum(given, 0) - np.maximum(wanted, 0)) ** 2).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2


def test_a_patch_is_what_a_convolution_sees(chain: Chain, pixels: np.ndarray) -> None:
    flow = solve.centred(pixels[:2])
    places = np.array([[[0, 0], [5, 63]], [[63, 63], [10, 11]]])  # corners, an edge and the middle
    layer = chain.layers[0]
    found = solve.patches(flow, places, 3, 3) @ layer.kernels[0].reshape(27, -1) + layer.bias
    outputs = np.asarray(layer.outputs(flow))
    expected = [outputs[0, 0, 0], outputs[0, 5, 63], outputs[1, 63, 63], outputs[1, 10, 11]]
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_columns_and_rows_of_a_patch_are_what_kernels_of_their_shape_see(chain: Chain, pixels: np.ndarray) -> None:
    flow = solve.centred(pixels[:1])
    places = np.array([[[0, 0], [63, 5], [30, 63]]])
    random = np.random.default_rng(8)
    for height, width in ((3, 1), (1, 3)):
        kernel = random.normal(size=(height, width, 3, 2)).astype(np.float32)
        outputs = np.asarray(Convolution((kernel,), np.zeros(2, np.float32)).outputs(flow))
        found = solve.patches(flow, places, height, width) @ kernel.reshape(9, 2)
        np.testing.assert_allclose(found, [outputs[0, 0, 0], outputs[0, 63, 5], outputs[0, 30, 63]], atol=1e-2)


def test_a_sensitivity_is_what_a_small_error_does_to_the_logits(chain: Chain, pixels: np.ndarray) -> None:
    keras.utils.set_random_seed(1)
    head = keras.Sequential(
        [keras.Input((2, 2, 16)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, use_bias=False)]
    )
    (kernel,) = head.get_weights()
    last = solve.sensitivities(chain, pixels, head, seed=1)[-1]
    # The centred logits are +-d/2 with d = their difference, so random signs give 0 or +-d, half the time each. One
    # place in 2 x 2 pooled, in a map of 2 x 2 places averaged: a sixteenth reaches the mean where it is the largest.
    difference = (kernel[:, 0] - kernel[:, 1]) / 4
    flow = solve.centred(pixels)
    for layer in chain.layers:
        flow = np.asarray(layer(flow))
    open_places = (flow > 0).sum(axis=(1, 2)).mean(axis=0)  # of the four of an image: where the largest is positive
    expected = difference**2 * open_places / 2
    np.testing.assert_allclose(np.diag(last), expected, rtol=0.5, atol=0.05 * expected.max())  # the signs are random


def test_multiplications_are_counted_by_hand() -> None:
    whole, column, row = (np.zeros(shape, np.float32) for shape in ((3, 3, 3, 8), (3, 1, 8, 5), (1, 3, 5, 16)))
    made = Chain(
        (Convolution((whole,), np.zeros(8), pooled=True), Convolution((column, row), np.zeros(16, np.float32)))
    )
    assert made.sides(64) == [64, 32]  # after the pooling
    assert made.multiplications(64) == 64 * 64 * 9 * 3 * 8 + 32 * 32 * 3 * (8 * 5 + 5 * 16)
    assert (made.widths, made.ranks) == ([8, 16], [None, 5])


def test_a_base_of_another_kind_is_refused() -> None:
    image = keras.Input((32, 32, 3))
    other = keras.Model(image, keras.layers.Conv2D(4, 5, padding="same")(image))
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    with pytest.raises(chains.StructureError, match="conv2d"):
        chains.chain_of(keras.Model(pixels, other(keras.ops.cast(pixels, "float32"))))
