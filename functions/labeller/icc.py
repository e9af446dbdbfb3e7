"""Convert pixels to sRGB by the ICC profile of their file (ICC.1:2022).

Profiles of a matrix and three curves are applied (Display P3, Adobe RGB, ProPhoto, linear and others), and those of one
curve for grey. Pixels of other profiles stay as they are, such as CMYK and tables of colours, and so do those of sRGB
in all its versions, bit for bit. The profile is read here and not by a library in C, because it may be hostile.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LONGEST = 2**16
"""Bytes of a profile that is read. One of a matrix has at most some thousands."""

Convert = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Pixels [height, width, 3] of the profile's colours -> of sRGB."""

# XYZ of illuminant D50, the profile connection space -> linear sRGB: IEC 61966-2-1, adapted to D50 by Bradford's
# transform.
_FROM_XYZ = np.array([[3.13386, -1.61687, -0.49061], [-0.97877, 1.91614, 0.03345], [0.07195, -0.22899, 1.40524]])
_VALUES = np.linspace(0, 1, 256)  # of 8 bits
# Versions of sRGB differ by as many of 255 levels: their curves are rounded tables, or formulas.
_SAME = 3
_MOST_TAGS = 100
_ROWS = 32  # converted at a time: what is in between stays in the processor's cache
# White and black of a sound profile are as near to those of sRGB, 0 to 1. A damaged profile must not make all black.
_MOST_TINTED = 0.2
# Parameters of each type of parametric curve (10.18): of g a b c d e f, the others are 1 for a and 0.
_PARAMETERS = ("g", "gab", "gabc", "gabcd", "gabcdef")


@lru_cache(64)  # programs and cameras write the same few
def conversion(profile: bytes, is_grey: bool) -> Convert | None:
    """The conversion to sRGB of a file with one channel or with three; None if none is needed or known.

    Raises ValueError for colours that cannot be taken for sRGB. A damaged profile converts nothing.
    """
    try:
        tags = _tags(profile)
        space = profile[16:24]  # of the file, and the profile connection space
        if is_grey:
            return _of_grey(_curve(tags["kTRC"])) if space == b"GRAYXYZ " else None
        # A table of XYZ: so JPEG XL's tools describe XYB, whose channels are nothing like red, green and blue. The
        # tables of printers and scanners are of Lab.
        if space == b"RGB XYZ " and "A2B0" in tags and "rXYZ" not in tags:
            raise ValueError("XYB colours are not supported")
        columns = [struct.unpack_from(">3i", tags[name], 8) for name in ("rXYZ", "gXYZ", "bXYZ")]
        curves = np.array([_curve(tags[name]) for name in ("rTRC", "gTRC", "bTRC")])
    except (KeyError, struct.error):
        return None
    return _of_matrix(_FROM_XYZ @ np.array(columns).T / 65536, curves) if space == b"RGB XYZ " else None


def _tags(profile: bytes) -> Mapping[str, bytes]:
    """The tags of a profile by their names. Raises struct.error."""
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for position in range(132, 132 + 12 * min(count, _MOST_TAGS), 12):
        name, start, size = struct.unpack_from(">4sII", profile, position)
        tags[name.decode("latin-1")] = profile[start : start + size]
    return tags


def _curve(tag: bytes) -> NDArray[np.float64]:
    """The linear light, 0 to 1, of each value of 8 bits. Raises struct.error, KeyError."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count < 2:  # the identity, or an exponent
            exponent = struct.unpack_from(">H", tag, 12)[0] / 256 if count else 1
            return np.asarray(_VALUES**exponent)
        points = struct.unpack_from(f">{min(count, LONGEST)}H", tag, 12)
        return np.interp(_VALUES * (count - 1), np.arange(count), points) / 65535
    if tag[:4] != b"para":
        raise KeyError(tag[:4])
    (kind,) = struct.unpack_from(">H", tag, 8)
    names = dict(enumerate(_PARAMETERS))[kind]
    values = dict.fromkeys("abcdefg", 0.0) | {"a": 1.0}
    values |= {
        name: value / 65536 for name, value in zip(names, struct.unpack_from(f">{len(names)}i", tag, 12), strict=True)
    }
    g, a, b, c, d, e, f = (values[name] for name in "gabcdef")
    with np.errstate(all="ignore"):
        power = np.maximum(a * _VALUES + b, 0) ** g
        if kind < 3:  # c is an offset where the curve is a power, and the value elsewhere
            light = np.where(a * _VALUES + b >= 0, power + c, c)
        else:
            light = np.where(d <= _VALUES, power + e, c * _VALUES + f)
    return np.clip(np.nan_to_num(light), 0, 1)


def _encoded(light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Linear light of sRGB as values of 8 bits (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return np.round(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(
        np.uint8
    )


def _of_grey(curve: NDArray[np.float64]) -> Convert | None:
    table = _encoded(curve)
    ends = np.abs(curve[[0, 255]] - (0, 1))
    return None if ends.max() > _MOST_TINTED or _is_same(table, np.arange(256)) else lambda pixels: table[pixels]


def _of_matrix(matrix: NDArray[np.float64], curves: NDArray[np.float64]) -> Convert | None:
    """The conversion by curves [3, 256] and a matrix to linear sRGB."""
    black, white = (matrix @ curves[:, value] for value in (0, 255))
    if max(np.abs(black).max(), np.abs(white - 1).max()) > _MOST_TINTED:
        return None
    # The sum of three table look-ups, each with all three channels of the result in one number of 64 bits. All entries
    # are raised by `lift`, so that they are positive.
    lift = max(0.0, -float(matrix.min()))
    scale = 65_000 / (float(np.clip(matrix, 0, None).sum(axis=1).max()) + 3 * lift)
    entries = np.zeros((3, 256, 4), np.uint16)
    entries[..., :3] = np.round(scale * (curves[..., np.newaxis] * matrix.T[:, np.newaxis] + lift))
    red, green, blue = entries.view(np.uint64)[..., 0]
    table = _encoded(np.arange(2**16) / scale - 3 * lift)

    def convert(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        converted = np.empty_like(pixels)
        for row in range(0, len(pixels), _ROWS):
            values = pixels[row : row + _ROWS].astype(np.intp)  # np.take would do it for each channel
            sums = np.take(red, values[..., 0])
            sums += np.take(green, values[..., 1])
            sums += np.take(blue, values[..., 2])
            converted[row : row + _ROWS] = np.take(table, sums.view(np.uint16)).reshape(*sums.shape, 4)[..., :3]
        return converted

    colours = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)
    return None if _is_same(convert(colours), colours) else convert


def _is_same(one: NDArray[np.uint8], other: NDArray[np.integer]) -> bool:
    return int(np.abs(one.astype(int) - other).max()) <= _SAME
