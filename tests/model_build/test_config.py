"""The settings of a build: the defaults that the documentation promises, their bounds and what follows from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_build.config import HEADS, QUANTISATIONS, YARDSTICK, BuildConfig, Ranges, SettingsError

CONFIG = BuildConfig(Path("data"))


def test_the_defaults_are_those_of_the_readme() -> None:
    assert (CONFIG.weights, CONFIG.image_size, CONFIG.speedup) == ("imagenet", 384, 3.5)
    assert (CONFIG.auto_size, CONFIG.auto_speedup) == (False, False)
    assert (CONFIG.out, CONFIG.cache) == (Path("build/model"), Path("build/cache"))


@pytest.mark.parametrize("size", [32, 512])
def test_images_have_32_to_512_pixels_a_side(size: int) -> None:
    BuildConfig(Path("data"), image_size=size).require_usable()
    beyond = size + (1 if size == 512 else -1)
    with pytest.raises(SettingsError, match=f"is {beyond}; it must be 32 to 512 pixels"):
        BuildConfig(Path("data"), image_size=beyond).require_usable()


@pytest.mark.parametrize(
    ("megapixels", "size", "images"),
    [
        (CONFIG.histogram_megapixels, 224, 19),  # 1.0 million / 50,176 = 19.9
        (CONFIG.histogram_megapixels, 128, 61),
        (CONFIG.quantisation_megapixels, 224, 23),
        (CONFIG.quantisation_megapixels, 128, 73),
        (CONFIG.compress_megapixels, 224, 77),
        (CONFIG.compress_megapixels, 128, 238),
        (CONFIG.fp32_megapixels, 224, 119),
        (CONFIG.fp32_megapixels, 128, 366),
        (0.001, 224, 1),  # never none
    ],
)
def test_an_amount_of_input_is_a_number_of_images(megapixels: float, size: int, images: int) -> None:
    assert BuildConfig(Path("data"), image_size=size).affordable(megapixels) == images


def test_a_faster_network_is_compared_on_as_many_more_images() -> None:
    full, faster = (BuildConfig(Path("data"), image_size=384, speedup=speedup) for speedup in (1.0, 3.5))
    # 384 x 384 = 147,456: 1.2 million are 8.1 images, 3.5 times as many 28.5; 6 million 40.7 and 142.4.
    assert (full.quantisation_images, full.histogram_images, full.fp32_images) == (8, 6, 40)
    assert (faster.quantisation_images, faster.histogram_images, faster.fp32_images) == (28, 23, 142)


def test_the_demo_has_the_full_network_the_first_quantisation_the_first_head_and_an_eighth_of_the_fp32_images() -> None:
    quick = CONFIG.quick()
    assert quick.speedup == 1.0
    assert (quick.quantisations, quick.heads, quick.yardstick) == (QUANTISATIONS[:1], HEADS[:1], YARDSTICK)
    assert quick.fp32_megapixels == CONFIG.fp32_megapixels / 8


def test_the_names_of_the_quantisations_say_how_the_ranges_are_chosen() -> None:
    for candidate in QUANTISATIONS:
        words = candidate.name.replace(",", "").split()
        assert words[0] == candidate.ranges
        match candidate.ranges:
            case Ranges.MINMAX:
                assert int(words[1]) == candidate.images
            case Ranges.PERCENTILE:
                assert (float(words[1]), candidate.images) == (candidate.percentile, 100)
            case Ranges.ENTROPY:
                assert candidate.images == 100
        position = {"first": (0,), "last": (-1,)}
        assert candidate.float_layers == (position[words[2]] if "FP32" in words else ())


def test_only_heads_without_a_dense_layer_are_penalised_and_the_build_chooses_how_much() -> None:
    assert {head.l2 for head in (*HEADS, YARDSTICK)} == {0.0}
    assert list(CONFIG.penalties) == sorted(CONFIG.penalties, reverse=True)  # the strongest first
    assert min(CONFIG.penalties) > 0


def test_the_search_has_ever_faster_networks_sizes_in_whole_strides_and_growing_samples() -> None:
    assert CONFIG.speedups == tuple(sorted(CONFIG.speedups))
    assert CONFIG.speedups[0] > 1
    assert all(size % 32 == 0 for size in CONFIG.sizes)
    assert CONFIG.search_images == tuple(sorted(CONFIG.search_images))
    assert 64 % CONFIG.compress_step == 0  # all widths of VGG16 are multiples of 64
