"""Files that harm decoders, and decoder processes that do what such files might make them do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import strategies as st
from PIL import ImageCms

from labeller import decoder_process
from tests.support import encoded, exif_orientation, photo_like

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SAMPLES = [
    encoded(photo_like(24, 16), "JPEG", exif=exif_orientation(6)),
    encoded(photo_like(24, 16), "JPEG", progressive=True),
    encoded(photo_like(24, 16).convert("CMYK"), "JPEG"),
    encoded(photo_like(24, 16), "PNG", exif=exif_orientation(6)),
    encoded(photo_like(24, 16).quantize(16), "PNG", transparency=3),
    encoded(photo_like(24, 16), "GIF", save_all=True, append_images=[photo_like(24, 16, 8)]),
    encoded(photo_like(24, 16), "TIFF"),
    encoded(photo_like(24, 16), "TIFF", compression="tiff_lzw"),
    encoded(photo_like(24, 16), "TIFF", compression="jpeg"),
    encoded(photo_like(24, 16), "WEBP", exif=exif_orientation(6)),
    encoded(photo_like(24, 16).convert("RGBA"), "WEBP", lossless=True),
    encoded(photo_like(24, 16), "BMP"),
    encoded(photo_like(24, 16), "AVIF"),
    encoded(photo_like(64, 64), "HEIF", exif=exif_orientation(6).tobytes()),
    encoded(photo_like(64, 64).convert("RGBA"), "HEIF"),
    encoded(photo_like(24, 16).convert("RGBA"), "AVIF"),
    encoded(photo_like(24, 16), "JPEG", icc_profile=PROFILE, restart_marker_rows=1),
    encoded(photo_like(24, 16).convert("L"), "JPEG", optimize=True),
    encoded(photo_like(24, 16).convert("LA"), "PNG", icc_profile=PROFILE),
    encoded(photo_like(24, 16).convert("I;16"), "PNG"),
    encoded(photo_like(24, 16), "TIFF", big_tiff=True, compression="tiff_adobe_deflate"),
    encoded(photo_like(24, 16).convert("1"), "TIFF", compression="group4"),
    encoded(photo_like(24, 16), "WEBP", save_all=True, append_images=[photo_like(24, 16, 8)]),
    encoded(photo_like(24, 16).quantize(16), "BMP"),
]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Real files with some bytes changed, most of them near the front, where the headers are; some cut, or
    with a piece taken out or doubled."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    last = len(data) - 1
    places = st.one_of(st.integers(0, min(200, last)), st.integers(0, last))
    for place, byte in draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        data[place] = byte
    start, length = draw(places), draw(st.integers(0, 60))
    what = draw(st.sampled_from(["leave", "leave", "cut", "remove", "double"]))
    if what == "cut":
        del data[start:]
    elif what == "remove":
        del data[start : start + length]
    elif what == "double":
        data[start:start] = data[start : start + length]
    return bytes(data)


_PROGRAM = """
import os, resource, signal, sys, time
from labeller import decoder_process, images
from labeller.images import Reason, Unreadable
decoder_process._PROCESSOR_SECONDS = 1
decode, left = images.decode, []
def hostile(data, *arguments):
    if data.endswith(b"hostile"):
        {}
    return decode(data, *arguments)
images.decode = hostile
decoder_process.serve()
"""

TIFF = encoded(photo_like(24, 16), "TIFF")
HOSTILE = TIFF + b"hostile"

Replace = Callable[[str], None]


@pytest.fixture
def on_hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Replace]:
    """A function that makes the decoder process do something else for HOSTILE. The test has processes of its own."""
    monkeypatch.setattr(decoder_process, "_idle", [])
    yield lambda statement: monkeypatch.setattr(decoder_process, "_PROGRAM", _PROGRAM.format(statement))
    for process in decoder_process._idle:
        process._end()


IN_A_BATCH = ("a segmentation fault", "an exit", "memory", "processor time", "a stop")  # tried in a batch; others alone
CRASHED, SLOW = "DECODER_CRASHED: the decoder ended", "TOO_COSTLY: decoding takes too long"
WAYS = {
    "a segmentation fault": ("os.kill(os.getpid(), signal.SIGSEGV)", f"{CRASHED}: Segmentation fault"),
    "an assertion in C": ("os.abort()", f"{CRASHED}: Aborted"),
    "the kernel, short of memory": ("os.kill(os.getpid(), signal.SIGKILL)", f"{CRASHED}: Killed"),
    "an exit": ("os._exit(3)", f"{CRASHED}: exit status 3"),
    "an exit without an error": ("os._exit(0)", f"{CRASHED}: exit status 0"),
    "nonsense": ("os.write(3, b'no JSON, and a line\\n')", f"{CRASHED}: Killed"),
    "memory": ("bytearray(460_000_000)", "TOO_COSTLY: decoding takes more memory than is available"),
    "processor time": ("while True: pass", SLOW),
    "waiting": ("time.sleep(9)", SLOW),
    "a stop": ("os.kill(os.getpid(), signal.SIGSTOP)", SLOW),
}
