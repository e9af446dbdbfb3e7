"""Channels go, and what the network says stays, as far as it can."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from model_build import compress
from model_build.compress import Chain
from tests.model_build.narrow import load_narrow

pytestmark = pytest.mark.slow

SIZE = 64


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return load_narrow("random", SIZE, 7).network


@pytest.fixture(scope="module")
def chain(network: keras.Model) -> Chain:
    return compress.chain_of(network)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth random pictures: noise alone has no neighbourhoods."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (48, 8, 8, 3)).astype(np.uint8)
    return coarse.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)


def everything(chain: Chain) -> list[np.ndarray]:
    return [np.arange(width) for width in chain.widths]


def features(chain: Chain, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(compress.network_of(chain, SIZE).predict(pixels, verbose=0))


def test_a_network_taken_apart_and_put_together_says_the_same(
    network: keras.Model, chain: Chain, pixels: np.ndarray
) -> None:
    np.testing.assert_allclose(features(chain, pixels), network.predict(pixels, verbose=0), atol=1e-3)


def test_with_every_channel_kept_the_weights_are_the_very_same(chain: Chain, pixels: np.ndarray) -> None:
    seen = compress.sample(chain, pixels[:2], 4, seed=1)
    assert compress.thin(chain, seen, everything(chain)) is chain


def doubled(chain: Chain, layer: int) -> Chain:
    """The same network with every channel of a layer there twice, each heard half as much, and one dead channel."""
    kernel, bias, after = chain.kernels[layer], chain.biases[layer], chain.kernels[layer + 1]
    dead = np.zeros((*kernel.shape[:3], 1), np.float32)
    kernels, biases = list(chain.kernels), list(chain.biases)
    kernels[layer] = np.concatenate([kernel, kernel, dead], axis=3)
    biases[layer] = np.concatenate([bias, bias, [-1.0]]).astype(np.float32)
    kernels[layer + 1] = np.concatenate([after / 2, after / 2, np.ones_like(after[:, :, :1])], axis=2)
    return replace(chain, kernels=tuple(kernels), biases=tuple(biases))


def test_copies_and_dead_channels_are_found_and_go_without_loss(chain: Chain, pixels: np.ndarray) -> None:
    wide = doubled(chain, 5)
    seen = compress.sample(wide, pixels, 64, seed=1)
    everywhere = [np.eye(width) for width in wide.widths]
    order = compress.eliminations(wide, seen, everywhere)[5]
    kept = everything(wide)
    kept[5] = order.kept(16)
    assert sorted(channel % 16 for channel in kept[5]) == list(range(16))  # one of each pair, not the dead one
    thinned = compress.thin(wide, seen, kept)
    assert thinned.widths == chain.widths
    wanted = features(chain, pixels)
    error = np.sqrt(((features(thinned, pixels) - wanted) ** 2).mean()) / wanted.std()
    assert error < 0.02  # the ridge's share


def test_solving_again_is_better_than_cutting_alone(chain: Chain, pixels: np.ndarray) -> None:
    seen = compress.sample(chain, pixels, 64, seed=1)
    kept = everything(chain)
    for layer, order in enumerate(compress.eliminations(chain, seen, [np.eye(width) for width in chain.widths])):
        kept[layer] = order.kept(chain.widths[layer] * 3 // 4)
    cut = Chain(
        tuple(
            kernel[:, :, before][..., channels]
            for kernel, before, channels in zip(chain.kernels, [np.arange(3), *kept[:-1]], kept, strict=True)
        ),
        tuple(bias[channels] for bias, channels in zip(chain.biases, kept, strict=True)),
        chain.pooled,
    )
    wanted = features(chain, pixels)
    solved, plain = (
        ((features(each, pixels) - wanted) ** 2).mean() for each in (compress.thin(chain, seen, kept), cut)
    )
    assert solved < plain / 4


def test_the_same_sample_gives_the_same_weights_twice(chain: Chain, pixels: np.ndarray) -> None:
    kept = [np.arange(width // 2) for width in chain.widths[:-1]] + [np.arange(chain.widths[-1])]
    one, other = (compress.thin(chain, compress.sample(chain, pixels[:8], 16, seed=3), kept) for _ in range(2))
    for first, second in zip(one.kernels, other.kernels, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_first_round_is_least_squares_with_an_intercept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress, "RIDGE", 1e-12)
    random = np.random.default_rng(2)
    inputs = random.normal(1.0, 1.0, (300, 18)).astype(np.float32)
    wanted = random.normal(size=(300, 4)).astype(np.float32)
    kernel, bias = compress.solve(inputs, wanted, rounds=1)
    expected, *_ = np.linalg.lstsq(np.column_stack([inputs, np.ones(300)]), wanted, rcond=None)
    np.testing.assert_allclose(kernel.reshape(18, 4), expected[:-1], atol=1e-4)
    np.testing.assert_allclose(bias, expected[-1], atol=1e-4)


def test_more_rounds_bring_what_comes_through_the_relu_closer() -> None:
    random = np.random.default_rng(4)
    inputs = random.normal(size=(2000, 27)).astype(np.float32)
    linear = inputs @ random.normal(size=(27, 5)).astype(np.float32) - 3
    wanted = np.where(linear > 0, linear, 5 * linear)  # linear where the ReLU lets it through, bent where it does not
    errors = []
    for rounds in (1, 2, 4, 8):
        kernel, bias = compress.solve(inputs, wanted, rounds)
        given = inputs @ kernel.reshape(27, 5) + bias
        errors.append(((np.maximum(given, 0) - np.maximum(wanted, 0)) ** 2).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2


def test_a_patch_is_what_a_convolution_sees(chain: Chain, pixels: np.ndarray) -> None:
    flow = compress.centred(pixels[:2])
    places = np.array([[[0, 0], [5, 63]], [[63, 63], [10, 11]]])  # corners, an edge and the middle
    found = compress.patches(flow, places) @ chain.kernels[0].reshape(27, -1) + chain.biases[0]
    outputs = compress.convolved(flow, chain.kernels[0], chain.biases[0])
    expected = [outputs[0, 0, 0], outputs[0, 5, 63], outputs[1, 63, 63], outputs[1, 10, 11]]
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_a_sensitivity_is_what_a_small_error_does_to_the_logits(chain: Chain, pixels: np.ndarray) -> None:
    keras.utils.set_random_seed(1)
    head = keras.Sequential(
        [keras.Input((2, 2, 16)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, use_bias=False)]
    )
    (kernel,) = head.get_weights()
    last = compress.sensitivities(chain, pixels, head, seed=1)[-1]
    # The centred logits are +-d/2 with d = their difference, so random signs give 0 or +-d, half the time each. One
    # place in 2 x 2 pooled, in a map of 2 x 2 places averaged: a sixteenth reaches the mean where it is the largest.
    difference = (kernel[:, 0] - kernel[:, 1]) / 4
    outputs, flow = None, compress.centred(pixels)
    for index, (weights, bias) in enumerate(zip(chain.kernels, chain.biases, strict=True)):
        outputs = compress.convolved(flow, weights, bias)
        flow = compress.after(outputs, index in chain.pooled)
    open_places = (flow > 0).sum(axis=(1, 2)).mean(axis=0)  # of the four of an image: where the largest is positive
    expected = difference**2 * open_places / 2
    np.testing.assert_allclose(np.diag(last), expected, rtol=0.5, atol=0.05 * expected.max())  # the signs are random


def test_multiplications_are_counted_by_hand(chain: Chain) -> None:
    counted = chain.multiplications(SIZE)
    assert counted[0] == 64 * 64 * 9 * 3 * 8
    assert counted[2] == 32 * 32 * 9 * 8 * 8  # after the first pooling
    assert counted[-1] == 4 * 4 * 9 * 16 * 16


def test_a_base_of_another_kind_is_refused() -> None:
    image = keras.Input((32, 32, 3))
    other = keras.Model(image, keras.layers.Conv2D(4, 5, padding="same")(image))
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    with pytest.raises(compress.StructureError, match="conv2d"):
        compress.chain_of(keras.Model(pixels, other(keras.ops.cast(pixels, "float32"))))
