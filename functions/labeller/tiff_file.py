"""TIFFs as Pillow opens them, without its mistakes about how their numbers are stored."""

from typing import IO, Any, cast

from PIL import TiffImagePlugin

_PHOTOMETRIC, _WHITE_IS_ZERO, _BLACK_IS_ZERO = 262, 0, 1
_JPEG_TABLES = 347
_PARTS = ((273, 279), (324, 325))  # offsets and bytes of strips and tiles
_MOST_DAMAGED = 0.05  # of the parts; see jpeg_scan
_SEPARATE = 2  # PlanarConfiguration: each component in a plane of its own
_WHITE_16 = 65535
# Pillow's names of big-endian numbers of 32 bits -> of those in this machine's order, in which libtiff hands them out.
# Pillow itself renames those of 16 bits only.
_NATIVE = {"F;32BF": "F;32NF", "I;32B": "I;32N", "I;32BS": "I;32NS"}


class TiffFile(TiffImagePlugin.TiffImageFile):
    """A TIFF whose planes of components, compressed big-endian numbers and negative grey are read as what they are."""

    @property
    def use_load_libtiff(self) -> bool:
        """Whether libtiff decodes, also without compression: Pillow takes planes of 16 bits for such of 8."""
        return self._is_compressed or self._planar_configuration == _SEPARATE

    @use_load_libtiff.setter
    def use_load_libtiff(self, value: bool) -> None:
        self._is_compressed = value

    def _setup(self) -> None:
        super()._setup()
        if self._planar_configuration == _SEPARATE and self.mode == "LA":
            raise SyntaxError("unknown pixel mode")  # Pillow would take the plane of alpha for green
        if self.use_load_libtiff:
            self.tile = [tile._replace(args=_in_native_order(tile.args)) for tile in self.tile]

    def load(self) -> Any:
        """Decode the pixels. Raises OSError if more than a few of the JPEGs that they are coded as are damaged."""
        if self.tile and self._compression == "jpeg":
            self._ensure_whole()
        return super().load()

    def _ensure_whole(self) -> None:
        """Raise OSError if libjpeg warns of more than a few of the strips or tiles. libtiff does not tell."""
        tables = self.tag_v2.get(_JPEG_TABLES)
        offsets, counts = next(
            ((self.tag_v2[start], self.tag_v2.get(count)) for start, count in _PARTS if start in self.tag_v2),
            ((), ()),  # libtiff does not find any either, and fails
        )
        damaged = 0
        stream = cast(IO[bytes], self.fp)
        # Without lengths, libtiff reads one part alone, to the end of the file.
        for offset, count in zip(offsets, counts or (-1,), strict=False):
            stream.seek(offset)
            jpeg = stream.read(count)
            damaged += _is_damaged(tables[:-2] + jpeg[2:] if tables else jpeg)
        if damaged > _MOST_DAMAGED * len(offsets):
            raise OSError(f"{damaged} of {len(offsets)} strips are corrupt JPEG data")

    def load_end(self) -> None:
        """Finish the pixels, once they are decoded."""
        super().load_end()
        if self.mode == "I;16" and self.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            self.im = self.im.point_transform(-1, _WHITE_16)


def _is_damaged(jpeg: bytes) -> bool:
    from simplejpeg import decode_jpeg

    try:
        decode_jpeg(jpeg, "GRAY", strict=True)  # whatever its colours are; the quickest
    except ValueError as error:
        # Of an unusual one, such as an old kind or more bits, nothing is known. libtiff fails where libjpeg does.
        return any(word in str(error) for word in ("Corrupt", "Premature"))
    return False


def _in_native_order(arguments: Any) -> Any:
    raw, *others = arguments
    return (_NATIVE.get(raw, raw), *others)


# Grey in unsigned numbers, as keys of Pillow: byte order, photometric interpretation, sample format, fill order, bits,
# extra samples. These two are there for little-endian files only.
TiffImagePlugin.OPEN_INFO[b"MM", _BLACK_IS_ZERO, (1,), 1, (32,), ()] = ("I", "I;32B")
TiffImagePlugin.OPEN_INFO[b"MM", _WHITE_IS_ZERO, (1,), 1, (16,), ()] = ("I;16", "I;16B")
# Negative grey in floats has no known white, and Pillow takes it for positive; grey of 12 bits comes out nearly black.
for _key in [(b"II", _WHITE_IS_ZERO, (3,), 1, (32,), ()), (b"MM", _WHITE_IS_ZERO, (3,), 1, (32,), ())]:
    del TiffImagePlugin.OPEN_INFO[_key]
del TiffImagePlugin.OPEN_INFO[b"II", _BLACK_IS_ZERO, (1,), 1, (12,), ()]
