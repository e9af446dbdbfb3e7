"""Decode a picture at a bounded cost: an ordinary one in this process, every other or damaged one in one with limits.

A decoder in C cannot be interrupted in a thread, and its segmentation fault ends the whole process. The decoder process
is started when it is first needed, and kept. It has no environment, no open files and no stderr of its caller. Whatever
ends it, the next picture gets a new one.

libtiff reports damage in faxes (CCITT) on stderr only. The decoder process reads that: damaged ones get no label.
"""

import json
import math
import os
import resource
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from signal import SIGXCPU, strsignal
from struct import Struct
from time import monotonic, process_time
from typing import IO, Any, cast

import numpy as np

from labeller import headers, images, signatures, tiff
from labeller.images import Decoded, Reason, Unreadable
from labeller.jpeg import Damaged

# A picture may take 10 s of processor time and 512 MB in all. The limit on processor time has a resolution of 1 s.
# Of the memory, 40 MB are the process itself, and the caller holds the file too, up to 25 MB.
_PROCESSOR_SECONDS = 8
_MEMORY = 450_000_000  # bytes, beside the process itself
_MOST_LEFT_OVER = 64_000_000  # bytes that decoders and their pictures may leave before the process is replaced

SECONDS = 10.0
"""Of wall time for a picture in the decoder process."""
FIRST_SECONDS = 0.7
"""Of these, for a first try: enough for nearly all pictures, so that those that need more can wait until the last."""

_MOST_DAMAGED = 0.05  # of the rows of a fax; see jpeg_scan
_FULL = 60_000  # bytes of messages: a pipe holds 64 KB, and the rest is lost

_REQUEST = Struct("<QIIQ")  # bytes of the file, height, width, most pixels
_READY = b"R"
_LONGEST_ANSWER = 10_000  # bytes of JSON
_PROGRAM = "from labeller.decoder_process import serve; serve()"


class DecoderError(RuntimeError):
    """The decoder process does not start, or our own code fails in it. Not the picture's fault."""


class TooSlow(Unreadable):
    """The picture was not decoded in the time that it was given; perhaps it is in more."""


class _Ended(Exception):
    """The decoder process has ended before it answered."""

    def __init__(self, unreadable: Unreadable) -> None:
        super().__init__(unreadable.detail)
        self.unreadable = unreadable


def decode(data: bytes, size: tuple[int, int], max_pixels: int, seconds: float = SECONDS) -> Decoded:
    """As images.decode, which says more. Raises also Unreadable TOO_COSTLY and DECODER_CRASHED, and DecoderError.

    `seconds` limits the wall time in the decoder process. Thread-safe; every thread has a decoder process of its own.
    """
    return decode_here(data, size, max_pixels) or decode_apart(data, size, max_pixels, seconds)


def decode_here(data: bytes, size: tuple[int, int], max_pixels: int) -> Decoded | None:
    """As `decode`, in this process; None if the picture must be decoded in a decoder process."""
    name = signatures.identify(data)
    if name not in signatures.SUPPORTED or headers.is_ordinary(data, name):
        with suppress(Damaged):
            return images.decode(data, size, max_pixels, repair=False)
    return None


def decode_apart(data: bytes, size: tuple[int, int], max_pixels: int, seconds: float = SECONDS) -> Decoded:
    """As `decode`, in a decoder process whatever the picture. Raises TooSlow after `seconds`."""
    end = monotonic() + seconds
    while True:
        try:
            process, is_new = _idle.pop(), False
        except IndexError:
            process, is_new = _DecoderProcess(), True
        try:
            decoded = process.decode(data, size, max_pixels, max(end - monotonic(), 0))
        except Unreadable:
            _idle.append(process)
            raise
        except _Ended as ended:
            # A kept process may have ended before: Lambda halts it between invocations. The picture is not blamed.
            if is_new or ended.unreadable.reason is not Reason.DECODER_CRASHED:
                raise ended.unreadable from ended
        else:
            _idle.append(process)
            return decoded


class _DecoderProcess:
    """The caller's side of a decoder process. For one thread at a time."""

    def __init__(self) -> None:
        path = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(path),
            "OPENBLAS_NUM_THREADS": "1",
            # Memory that is freed goes back at once, and no thread reserves 64 MB.
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_MMAP_THRESHOLD_": "1000000",
        }
        self._is_ready = self._is_late = False
        self._process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-B", "-P", "-S", "-W", "ignore", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._requests, self._answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)

    def decode(self, data: bytes, size: tuple[int, int], max_pixels: int, seconds: float) -> Decoded:
        """The picture. Raises Unreadable, DecoderError, and _Ended if the process is no longer there."""
        if not self._is_ready:
            self._is_ready = self._answers.read(1) == _READY
            if not self._is_ready:
                self._end()
                raise DecoderError("the decoder process ended before it was ready")
        self._is_late = False
        timer = threading.Timer(seconds, self._give_up)
        timer.start()
        try:
            answer, pixels = self._ask(data, size, max_pixels)
        except (OSError, EOFError, ValueError) as error:  # broken pipe, closed pipe, no JSON
            raise _Ended(self._end()) from error
        finally:
            timer.cancel()
            timer.join()  # no timer may outlive the process and end another one of the same number
        if "mistake" in answer:
            self._end()
            raise DecoderError(answer["mistake"])
        if "reason" in answer:
            raise Unreadable(Reason(answer["reason"]), answer["detail"])
        array = np.frombuffer(pixels, np.uint8).reshape(*size, 3)
        return Decoded(array, answer["width"], answer["height"], answer["format"])

    def _ask(self, data: bytes, size: tuple[int, int], max_pixels: int) -> tuple[dict[str, Any], bytes]:
        self._requests.write(_REQUEST.pack(len(data), *size, max_pixels))
        self._requests.write(data)
        self._requests.flush()
        answer = json.loads(self._answers.readline(_LONGEST_ANSWER))
        expected = 3 * size[0] * size[1] if "width" in answer else 0
        pixels = self._answers.read(expected)
        if len(pixels) < expected:
            raise EOFError
        return answer, pixels

    def _give_up(self) -> None:
        self._is_late = True
        self._process.kill()

    def _end(self) -> Unreadable:
        """End the process if it still runs. The reason why it ended, and in words."""
        self._process.kill()
        status = self._process.wait()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # what was not written
                pipe.close()
        if self._is_late or status == -SIGXCPU:
            return (TooSlow if self._is_late else Unreadable)(Reason.TOO_COSTLY, "decoding takes too long")
        how = strsignal(-status) if status < 0 else f"exit status {status}"
        return Unreadable(Reason.DECODER_CRASHED, f"the decoder ended: {how}")


_idle: list[_DecoderProcess] = []
os.register_at_fork(after_in_child=_idle.clear)  # they answer to the parent


def serve() -> None:
    """Answer requests until there are none: the decoder process."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints is taken for an answer
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))
    messages, write_end = os.pipe()
    os.dup2(write_end, 2)
    os.close(write_end)
    for end in (messages, 2):
        os.set_blocking(end, False)  # what does not fit is lost
    at_start = _address_space()
    answers.write(_READY)
    answers.flush()
    while header := requests.read(_REQUEST.size):
        length, height, width, max_pixels = _REQUEST.unpack(header)
        _limit(resource.RLIMIT_CPU, math.ceil(process_time()) + _PROCESSOR_SECONDS)
        _limit(resource.RLIMIT_AS, _address_space() + _MEMORY)
        answer, pixels = _answer(requests.read(length), (height, width), max_pixels, messages)
        answers.write(json.dumps(answer).encode() + b"\n" + pixels)
        answers.flush()
        _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
        if _address_space() > at_start + _MOST_LEFT_OVER:
            return


def _answer(data: bytes, size: tuple[int, int], max_pixels: int, messages: int) -> tuple[dict[str, Any], bytes]:
    try:
        _read_all(messages)
        decoded = images.decode(data, size, max_pixels)
        if decoded.format == "TIFF":
            _ensure_whole(data, _read_all(messages))
    except Unreadable as error:
        return {"reason": error.reason, "detail": error.detail}, b""
    except MemoryError:
        return {"reason": Reason.TOO_COSTLY, "detail": images.TOO_MUCH_MEMORY}, b""
    except Exception:  # the caller raises it
        return {"mistake": traceback.format_exc(limit=-3)[-_LONGEST_ANSWER // 8 :]}, b""
    answer = {"width": decoded.width, "height": decoded.height, "format": decoded.format}
    return answer, decoded.pixels.tobytes()


def _read_all(messages: int) -> bytes:
    try:
        return os.read(messages, 2**17)
    except BlockingIOError:
        return b""


def _ensure_whole(data: bytes, messages: bytes) -> None:
    if len(messages) >= _FULL or tiff.damaged_rows(data, messages) > _MOST_DAMAGED:
        raise Unreadable(Reason.CORRUPT, "TIFF: many rows are damaged")


def _limit(kind: int, value: int) -> None:
    most = resource.getrlimit(kind)[1]
    soft = value if most == resource.RLIM_INFINITY else most if value == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (soft, most))


def _address_space() -> int:
    """Bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
