"""ICC profiles: their colours as sRGB, compared with LittleCMS, which Pillow has."""

from __future__ import annotations

import io
import struct
import zlib
from time import process_time
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from labeller import icc
from labeller.images import Reason, Unreadable, decode
from tests.support import encoded, photo_like

# Red, green and blue as XYZ of D50, the sum of which is white: of sRGB, Display P3, Adobe RGB and ProPhoto (ROMM) RGB.
SRGB = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)
P3 = (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)
ADOBE = (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)
PROPHOTO = (0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)


def fixed(*numbers: float) -> bytes:
    """Numbers as s15Fixed16."""
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def parametric(kind: int, *numbers: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + fixed(*numbers)


def table(values: np.ndarray) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + np.round(values * 65535).astype(">u2").tobytes()


def srgb_light(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR = b"curv" + bytes(8)
GAMMA_2_2 = b"curv" + bytes(4) + struct.pack(">IH", 1, 563) + bytes(2)  # 563/256, Adobe RGB's

GAMMA_1_8 = b"curv" + bytes(4) + struct.pack(">IH", 1, round(1.8 * 256)) + bytes(2)


def assembled(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """A profile, as ICC.1:2022 lays it out."""
    directory, content = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        directory += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    header = bytes(4) + bytes(4) + b"\4\x30\0\0" + b"mntr" + space + connection + bytes(12) + b"acsp" + bytes(28)
    header += fixed(0.9642, 1, 0.8249)
    profile = header.ljust(128, b"\0") + directory + content
    return struct.pack(">I", len(profile)) + profile[4:]


def matrix_profile(primaries: tuple[tuple[float, ...], ...], curve: bytes = SRGB_CURVE) -> bytes:
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249)}
    tags |= {
        name: b"XYZ " + bytes(4) + fixed(*xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)
    }
    return assembled(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(curve: bytes) -> bytes:
    return assembled(b"GRAY", {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249), b"kTRC": curve})


def by_littlecms(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        "RGB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    converted = ImageCms.applyTransform(Image.fromarray(pixels), transform)
    assert converted is not None
    return np.asarray(converted).astype(int)


RANDOM = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
GREYS = np.arange(256, dtype=np.uint8)[np.newaxis]
CURVES = {
    "sRGB's curve": SRGB_CURVE,
    "linear": LINEAR,
    "an exponent": GAMMA_2_2,
    "a table": table(np.linspace(0, 1, 1024) ** 1.8),
    "parametric 0": parametric(0, 1.8),
    "parametric 1": parametric(1, 2.0, 0.9, 0.1),
    "parametric 2": parametric(2, 2.0, 0.8, 0.1, 0.1),
    "parametric 4": parametric(4, 2.4, 0.9, 0.05, 0.1, 0.1, 0.05, 0.01),
}


@pytest.mark.parametrize("primaries", [P3, ADOBE, PROPHOTO, SRGB[::-1]])
@pytest.mark.parametrize("curve", CURVES)
def test_colours_become_those_of_srgb(primaries: Any, curve: str) -> None:
    profile = matrix_profile(primaries, CURVES[curve])
    convert = icc.conversion(profile, False)

    assert convert is not None
    difference = np.abs(convert(RANDOM).astype(int) - by_littlecms(RANDOM, profile))
    assert difference.mean() < 0.3
    assert difference.max() <= 4  # LittleCMS rounds what is nearly black


def srgb_of(exponent: float, values: np.ndarray) -> np.ndarray:
    """Grey of 8 bits whose light is a power, in sRGB. (LittleCMS is 10 levels off where linear grey is dark.)"""
    fine = np.linspace(0, 1, 100_001)
    return 255 * np.interp((values / 255) ** exponent, srgb_light(fine), fine)


@pytest.mark.parametrize(
    ("curve", "exponent"),
    [(LINEAR, 1), (parametric(0, 1.4), 1.4), (GAMMA_1_8, 1.8), (table(np.linspace(0, 1, 999) ** 3), 3)],
)
def test_grey_becomes_that_of_srgb(curve: bytes, exponent: float) -> None:
    convert = icc.conversion(grey_profile(curve), True)

    assert convert is not None
    assert np.abs(convert(GREYS) - srgb_of(exponent, GREYS)).max() <= 1


def with_lab(profile: bytes) -> bytes:
    return profile[:20] + b"Lab " + profile[24:]


XYB = assembled(b"RGB ", {b"desc": b"mluc" + bytes(24) + "XYB_Per".encode("utf-16-be"), b"A2B0": b"mAB " + bytes(60)})
KEPT = {
    "sRGB": matrix_profile(SRGB),
    "sRGB with a table": matrix_profile(SRGB, table(srgb_light(np.linspace(0, 1, 1024)))),
    "sRGB as Pillow makes it": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "of a table of colours": with_lab(assembled(b"RGB ", {b"desc": b"desc", b"A2B0": b"mAB " + bytes(60)})),
    "with Lab": with_lab(matrix_profile(P3)),
    "of CMYK": assembled(b"CMYK", {b"A2B0": b"mft2" + bytes(60)}),
    "of grey": grey_profile(LINEAR),
    "empty": b"",
    "a header only": matrix_profile(P3)[:128],
    "without a curve": matrix_profile(P3).replace(b"gTRC", b"xTRC"),
    "a curve of another type": matrix_profile(P3, b"cicp" + bytes(20)),
    "a curve of an unknown kind": matrix_profile(P3, parametric(9, 1)),
    "a curve cut off": matrix_profile(P3, b"curv" + bytes(4) + struct.pack(">I", 2**31) + bytes(50)),
    "a curve that is black": matrix_profile(P3, table(np.zeros(9))),
    "a curve that is infinite": matrix_profile(P3, parametric(0, -30000)),
    "no colour": matrix_profile(((0, 0, 0),) * 3),
    "huge colours": matrix_profile(((32767, -32768, 32767),) * 3),
}


@pytest.mark.parametrize("kind", sorted(KEPT))
def test_the_pixels_stay_as_they_are_with_a_profile(kind: str) -> None:
    assert icc.conversion(KEPT[kind], False) is None


def test_a_profile_of_colours_leaves_grey_as_it_is() -> None:
    assert icc.conversion(matrix_profile(P3), True) is None


def test_a_profile_cut_off_or_changed_anywhere_does_no_harm() -> None:
    profile = matrix_profile(P3, parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    random = np.random.default_rng(1)

    for _ in range(200):
        data = bytearray(profile[: random.integers(1, len(profile) + 1)])
        for _ in range(4):
            data[random.integers(len(data))] = random.integers(256)
        convert = icc.conversion(bytes(data), False)
        if convert is not None:
            assert convert(RANDOM[:4]).shape == (4, 64, 3)


PHOTO = photo_like(48, 32)
RAW = np.asarray(PHOTO)


def with_profile(name: str, profile: bytes, image: Image.Image = PHOTO, **options: Any) -> bytes:
    return encoded(image, name, icc_profile=profile, **options)


def pixels(data: bytes) -> np.ndarray:
    return decode(data, (32, 48), 10_000).pixels


LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
LOSSY: dict[str, dict[str, Any]] = {"JPEG": {}, "AVIF": {}, "HEIF": {}, "WEBP": {}}


@pytest.mark.parametrize(("name", "options"), [*LOSSLESS.items(), *LOSSY.items()])
@pytest.mark.parametrize("primaries", [P3, ADOBE])
def test_a_picture_is_converted_to_srgb(name: str, options: dict[str, Any], primaries: Any) -> None:
    profile = matrix_profile(primaries)
    without = pixels(with_profile(name, b"", **options))

    converted = pixels(with_profile(name, profile, **options)).astype(int)

    assert np.abs(converted - without).max() > 10
    assert np.abs(converted - by_littlecms(without, profile)).max() <= 2


@pytest.mark.parametrize(("name", "options"), [*LOSSLESS.items(), *LOSSY.items()])
def test_a_picture_of_srgb_stays_as_it_is_bit_for_bit(name: str, options: dict[str, Any]) -> None:
    for kind in ("sRGB", "sRGB with a table", "of a table of colours"):
        assert (pixels(with_profile(name, KEPT[kind], **options)) == pixels(with_profile(name, b"", **options))).all()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF"])
def test_a_grey_picture_is_converted_by_a_profile_of_grey_only(name: str) -> None:
    grey = PHOTO.convert("L")
    profile = grey_profile(LINEAR)
    without = pixels(with_profile(name, b"", grey))

    assert np.abs(pixels(with_profile(name, profile, grey)) - srgb_of(1, without)).max() <= 1
    assert (pixels(with_profile(name, matrix_profile(P3), grey)) == without).all()


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_the_colours_of_a_palette_and_below_a_transparency_are_converted(mode: str) -> None:
    image = Image.new("RGB", (48, 32), (200, 30, 40)).convert(mode)
    profile = matrix_profile(ADOBE)

    without, converted = pixels(with_profile("PNG", b"", image)), pixels(with_profile("PNG", profile, image))

    assert np.abs(converted - by_littlecms(without, profile)).max() <= 1


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_inks_stay_as_they_are_with_any_profile(name: str) -> None:
    inks = PHOTO.convert("CMYK")

    for kind in ("of CMYK", "sRGB with a table"):
        assert (pixels(with_profile(name, KEPT[kind], inks)) == pixels(with_profile(name, b"", inks))).all()


def test_a_profile_in_several_segments_of_a_jpeg_is_put_together_in_their_order() -> None:
    profile = matrix_profile(P3)
    parts = [profile[:300], profile[300:]]
    plain = encoded(PHOTO, "JPEG")
    segments = [
        b"\xff\xe2" + struct.pack(">H", 16 + len(part)) + b"ICC_PROFILE\0" + bytes([number, 2]) + part
        for number, part in enumerate(parts, 1)
    ]
    whole = pixels(with_profile("JPEG", profile))

    assert (pixels(plain[:2] + b"".join(segments) + plain[2:]) == whole).all()
    assert (pixels(plain[:2] + b"".join(segments[::-1]) + plain[2:]) == whole).all()
    assert (pixels(plain[:2] + segments[1] + plain[2:]) == pixels(plain)).all()  # the other is missing


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_a_picture_in_xyb_is_unsupported(name: str) -> None:
    with pytest.raises(Unreadable) as caught:
        pixels(with_profile(name, XYB))

    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "profile",
    [
        bytes(3_000_000),
        matrix_profile(P3) + bytes(icc.LONGEST),
        assembled(b"RGB ", {struct.pack(">I", n): bytes(4) for n in range(5000)}),
        b"\xff" * 5000,
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_a_huge_or_hostile_profile_changes_nothing_and_costs_no_time(name: str, profile: bytes) -> None:
    data = with_profile(name, profile)
    start = process_time()

    assert (pixels(data) == pixels(encoded(PHOTO, name))).all()

    assert process_time() - start < 0.2


@pytest.mark.filterwarnings("ignore:Metadata Warning")
def test_a_profile_that_is_no_bytes_changes_nothing() -> None:
    data = with_profile("TIFF", b"1234" * 10)
    entry = struct.pack("<HHI", 34675, 7, 40)
    assert data.count(entry) == 1

    assert (pixels(data.replace(entry, struct.pack("<HHI", 34675, 3, 20))) == RAW).all()  # 16-bit numbers


def test_a_damaged_iccp_chunk_changes_nothing() -> None:
    content = b"P3\0\0" + zlib.compress(matrix_profile(P3))
    for body in (content[:4] + b"\0" * 40, content.replace(b"\0", b"", 2), b""):
        chunk = struct.pack(">I", len(body)) + b"iCCP" + body + struct.pack(">I", zlib.crc32(b"iCCP" + body))
        data = encoded(PHOTO)
        assert (pixels(data[:33] + chunk + data[33:]) == RAW).all()
