"""What the first directory of a TIFF says, from directories written by hand."""

from __future__ import annotations

import struct

import pytest

from labeller.tiff import damaged_rows, directory_bytes, end

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


def fax(compression: int, width: int = 100, height: int = 100, together: int = 50, code: int = 1000) -> bytes:
    """The directory of a fax: strips of rows together, and the bytes of their code."""
    fields = {256: width, 257: height, 259: compression, 278: together, 279: code}
    return struct.pack("<4sIH", b"II*\0", 8, len(fields)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items()
    ).ljust(12 * len(fields) + 4, b"\0")


@pytest.mark.parametrize(
    ("data", "messages", "share"),
    [
        (fax(3), b"", 0),
        (fax(3), b"Fax3Decode1D: Bad code word at line 7 of strip 0 (x 3).\n", 0.01),
        (fax(3), b"Fax3Decode2D: Bad code word at line 7 of strip 0 (x 3).\n" * 3, 0.03),
        (fax(4), b"Fax4Decode: Bad code word at line 20 of strip 1 (x 3).\n", 0.3),  # 20 to 49
        (fax(4, together=2**32 - 1), b"Fax4Decode: Bad code word at line 20 of strip 0 (x 3).\n", 0.8),
        (fax(4, together=20), b"Fax4Decode: Bad code word at line 20 of strip 1 (x 3).\n", 0.01),
        (fax(3), b"Fax3Decode1D: Bad code word at line 7 of strip 0 (x 3).\n" * 300, 1),
        (fax(4), b"TIFFReadDirectory: Bad value at line 20 of Fax4\n", 0),
        (fax(2, width=64, height=800, code=900), b"", 0),  # 9 bits a row
        (fax(3, width=64, height=800, code=450), b"", 0.5),
        (fax(32771, width=63, height=800, code=400), b"", 0),  # 4 bits
        (fax(2, width=63, height=800, code=300), b"", 0.25),
        (fax(4, width=64, height=800, code=100), b"", 0),  # all rows like the first
        (fax(5, width=64, height=800, code=100), b"", 0),  # LZW
    ],
)
def test_damaged_rows_are_counted_by_what_libtiff_says_and_by_the_code_that_is_there(
    data: bytes, messages: bytes, share: float
) -> None:
    assert damaged_rows(data, messages) == pytest.approx(share)
