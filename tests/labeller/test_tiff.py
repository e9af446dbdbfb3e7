"""What the first directory of a TIFF says, from directories written by hand."""

from __future__ import annotations

import struct

import pytest

from labeller.tiff import directory_bytes, end

# TIFF 6.0, section 2, pages 15 and 16; TIFF Technical Note 1: IFD; BigTIFF: LONG8, SLONG8, IFD8.
BYTES = {
    "BYTE": (1, 1),
    "ASCII": (2, 1),
    "SHORT": (3, 2),
    "LONG": (4, 4),
    "RATIONAL": (5, 8),
    "SBYTE": (6, 1),
    "UNDEFINED": (7, 1),
    "SSHORT": (8, 2),
    "SLONG": (9, 4),
    "SRATIONAL": (10, 8),
    "FLOAT": (11, 4),
    "DOUBLE": (12, 8),
    "IFD": (13, 4),
    "LONG8": (16, 8),
    "SLONG8": (17, 8),
    "IFD8": (18, 8),
}


@pytest.mark.parametrize("name", BYTES)
def test_values_of_every_type_have_their_size(name: str) -> None:
    kind, size = BYTES[name]
    data = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 40000, kind, 100, 1000, 0)  # a hundred values at 1000

    assert directory_bytes(data) == 100 * size
    assert end(data) == 1000 + 100 * size
