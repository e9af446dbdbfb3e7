"""Measure how much of a damaged JPEG is whole.

The scan is read symbol by symbol, without decoding it (ITU-T T.81, annexes B and F). What no encoder writes ends the
whole part. This works for sequential JPEGs of one scan. Of others, nothing counts as whole.

A hole that was filled with one byte, such as zero, can be valid code: with the usual tables, of blocks full of -1.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

# A damaged JPEG is nearly whole if at most this share of its blocks is damaged or missing. One row of blocks may be
# missing at the end if that is at most a tenth: 16 pixels, and 2 beside it, whose colours are interpolated from it.
_MOST_MISSING = 0.05
_INTERPOLATED = 2
_ROW_OF_BLOCKS, _MOST_ROWS_MISSING = 16 + _INTERPOLATED, 0.1

# Bounds of the time that reading takes: 0.6 s for a megabyte of the scan, and 20 microseconds for a restart marker.
_LONGEST_SCAN = 8_000_000
_MOST_RESTARTS = 50_000

_SEGMENT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # the marker of a segment
_MARKER = re.compile(rb"\xff[^\x00\xff]")  # any marker within a scan, where 0xFF 0x00 is a byte of data
_DHT, _DQT, _DRI, _SOS, _RST0, _EOI = 0xC4, 0xDB, 0xDD, 0xDA, 0xD0, 0xD9
_SEQUENTIAL = (0xC0, 0xC1)
_OTHER_FRAMES = (0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_END_OF_BLOCK = 64  # coefficients: all the rest
# Fewer equal bytes than this may be chance. More are a hole, except where the picture is flat or repeats itself. A
# block there has few symbols: two AC coefficients and the end of the block, since its code is as long as a byte.
_SHORTEST_HOLE = 32
_FEW_SYMBOLS = 3
_RUN = b"\1" * (_SHORTEST_HOLE - 1)
_MOST_DC_BITS, _MOST_AC_BITS = 11, 10  # of a difference and a coefficient, with 8 bits a sample
_LARGEST_DC = 1024  # 8 x 128, of a whole block of black or white


class WholePart(NamedTuple):
    """What is left of a nearly whole JPEG."""

    end: int  # offset in the file: of the marker after the last data to decode
    rows: int  # of pixels that are not missing
    height: int  # rows of the picture


class _Block(NamedTuple):
    """How a block of 8 x 8 coefficients is coded."""

    component: int
    dc: Sequence[int]  # next 16 bits -> bits of the symbol << 8 | bits of the difference after it; 0: no symbol
    ac: Sequence[int]  # next 16 bits -> bits of symbol and coefficient << 8 | coefficients that are done; 0: no symbol
    largest_dc: int  # in units of the quantisation


class _Scan(NamedTuple):
    height: int
    across: int  # minimum coded units (MCUs) in a row
    unit_height: int  # of an MCU, in pixels
    blocks: Sequence[_Block]  # of an MCU
    interval: int  # MCUs between restart markers; 0: there are none
    start: int  # of the data


def has_hole(data: bytes, start: int) -> bool:
    """Whether a hole in the scan, which starts at `start`, was filled with one byte.

    False for what `whole_part` does not read either.
    """
    if _RUN not in _repeated(data, start, len(data)):  # of nearly all pictures
        return False
    try:
        scan = _header(data)
    except (LookupError, ValueError):
        return False
    end = _SEGMENT.search(data, start)
    return scan is not None and _hole(data, scan.start, end.start() if end else len(data), scan.blocks) >= 0


def _hole(data: bytes, start: int, end: int, blocks: Sequence[_Block]) -> int:
    """Where the first hole in the data of a scan starts; -1 if there is none."""
    repeated = _repeated(data, start, end)
    position = repeated.find(_RUN)
    flat: set[int] = set()
    while position >= 0:
        value = data[start + position]
        if value not in flat and not any(_repeats(value, phase, blocks) for phase in range(8)):
            return start + position
        flat.add(value)
        after = repeated.find(b"\0", position)
        position = repeated.find(_RUN, after) if after >= 0 else -1
    return -1


def _repeated(data: bytes, start: int, end: int) -> bytes:
    """For each byte, 1 if the next one is the same, else 0."""
    values = np.frombuffer(data, np.uint8)[start:end]
    return (values[1:] == values[:-1]).tobytes()


def _repeats(value: int, phase: int, blocks: Sequence[_Block]) -> bool:
    """Whether this byte, repeated, is the code of one MCU, repeated, that begins at this bit and has few symbols."""
    word, bit = value * 0x10101, phase
    units = []
    for _ in range(8):
        symbols = []
        for block in blocks:
            symbols.append(block.dc[word >> 8 - (bit & 7) & 0xFFFF])
            bit += (symbols[-1] >> 8) + (symbols[-1] & 255)
            for _ in range(_FEW_SYMBOLS):
                symbols.append(block.ac[word >> 8 - (bit & 7) & 0xFFFF])
                bit += symbols[-1] >> 8
                if symbols[-1] & 255 == _END_OF_BLOCK:
                    break
            else:
                return False
        units.append(symbols)
    return all(symbols == units[0] for symbols in units)


def whole_part(data: bytes) -> WholePart | None:
    """What is left of a damaged JPEG; None if that is not nearly all, or cannot be told."""
    try:
        scan = _header(data)
    except (LookupError, ValueError):  # the header is damaged
        return None
    if scan is None or len(data) - scan.start > _LONGEST_SCAN:
        return None
    total = scan.across * -(-scan.height // scan.unit_height)
    position, number, whole, kept = scan.start, 0, 0, 0
    for first in range(0, total, scan.interval or total):
        marker = _MARKER.search(data, position)
        end = marker.start() if marker else len(data)
        wanted = min(scan.interval or total, total - first)
        hole = _hole(data, position, end, scan.blocks)
        last = end if hole < 0 else hole
        count, unread = _count_whole(data[position:last].replace(b"\xff\x00", b"\xff"), wanted, scan.blocks)
        if unread > _MOST_MISSING * (end - position) + 1:
            count = 0  # the blocks do not match the data, and nothing shows where they stop to
        whole += count
        kept = first + count if count else kept
        position, number = end + 2, number + 1
        if number > _MOST_RESTARTS or data[end + 1 : position] != bytes([_RST0 + (number - 1) % 8]):
            break
    rows = scan.height if kept == total else kept // scan.across * scan.unit_height - _INTERPOLATED
    nearly = total - whole <= _MOST_MISSING * total
    only_end = whole == kept and scan.height - rows <= min(_ROW_OF_BLOCKS, _MOST_ROWS_MISSING * scan.height)
    return WholePart(end, rows, scan.height) if nearly or only_end else None


def _count_whole(data: bytes, wanted: int, blocks: Sequence[_Block]) -> tuple[int, int]:
    """The whole MCUs of `data`, at most `wanted`, and the bytes behind the last one if there are as many as wanted."""
    last = 8 * len(data)
    ahead = np.frombuffer(data + bytes(3), np.uint8).astype(np.uint32)
    words = (ahead[:-2] << 16 | ahead[1:-1] << 8 | ahead[2:]).data  # the 24 bits that begin with each byte
    bit, dc = 0, [0] * len(blocks)
    for count in range(wanted):
        for component, dc_table, ac_table, largest in blocks:
            if bit >= last:
                return count, 0
            entry = dc_table[words[bit >> 3] >> 8 - (bit & 7) & 0xFFFF]
            size = entry & 255
            bit += entry >> 8
            if size and bit < last:
                value = (words[bit >> 3] >> 8 - (bit & 7) & 0xFFFF) >> 16 - size
                dc[component] += value if value >> size - 1 else value - (1 << size) + 1
                bit += size
            done = 1
            while done < 64 and entry and bit < last:
                entry = ac_table[words[bit >> 3] >> 8 - (bit & 7) & 0xFFFF]
                bit += entry >> 8
                done += entry & 255
            too_many = done > 64 and entry & 255 != _END_OF_BLOCK
            if bit > last or done < 64 or not entry or too_many or abs(dc[component]) > largest:
                return count, 0
    return wanted, len(data) - (bit + 7) // 8


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """The kind and content of each segment, up to the end of the image, and where it ends."""
    position = 2
    while (marker := _SEGMENT.search(data, position)) and (kind := data[marker.start() + 1]) != _EOI:
        start = marker.end() + 2
        position = max(start, marker.end() + int.from_bytes(data[marker.end() : start], "big"))
        yield kind, data[start:position], position


def _header(data: bytes) -> _Scan | None:
    """The scan of a sequential JPEG of one scan; None for another. Raises LookupError, ValueError."""
    frame, interval = b"", 0
    huffman: dict[int, Sequence[int]] = {}
    quantisation: dict[int, int] = {}
    for kind, body, position in _segments(data):
        if kind in _OTHER_FRAMES:
            return None
        if kind in _SEQUENTIAL:
            frame = body
        elif kind == _DHT:
            huffman |= _huffman(body)
        elif kind == _DQT:
            quantisation |= _quantisation(body)
        elif kind == _DRI:
            interval = int.from_bytes(body, "big")
        elif kind == _SOS:
            return _scan(frame, body, huffman, quantisation, interval, position)
    return None


def _scan(
    frame: bytes,
    body: bytes,
    huffman: Mapping[int, Sequence[int]],
    quantisation: Mapping[int, int],
    interval: int,
    start: int,
) -> _Scan | None:
    precision, height, width = frame[0], int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    components = [frame[i : i + 3] for i in range(6, 6 + 3 * frame[5], 3)]
    if precision != 8 or body[0] != len(components) or not width * height:
        return None
    # A scan of one component has MCUs of one block.
    sides = [(sampling >> 4, sampling & 15) if body[0] > 1 else (1, 1) for _, sampling, _ in components]
    blocks = []
    for number, ((_, _, table), (across, down)) in enumerate(zip(components, sides, strict=True)):
        tables = body[2 + 2 * number]
        largest = _LARGEST_DC // max(1, quantisation[table]) + 2  # rounded, and what an encoder may round otherwise
        block = _Block(number, huffman[tables >> 4], huffman[16 | tables & 15], largest)
        blocks += [block] * (across * down)
    across, down = (8 * max(side) for side in zip(*sides, strict=True))
    return _Scan(height, -(-width // across), down, blocks, interval, start)


def _quantisation(body: bytes) -> Iterator[tuple[int, int]]:
    """Each table's number and first value, that of the DC coefficient."""
    position = 0
    while position < len(body):
        bytes_each = 1 + (body[position] >> 4)
        yield body[position] & 15, int.from_bytes(body[position + 1 : position + 1 + bytes_each], "big")
        position += 1 + 64 * bytes_each


def _huffman(body: bytes) -> Iterator[tuple[int, Sequence[int]]]:
    """Each table's class and number, and its entries (see _Block)."""
    position = 0
    while position < len(body):
        counts = body[position + 1 : position + 17]
        symbols = iter(body[position + 17 : position + 17 + sum(counts)])
        if sum(count << 16 - length for length, count in enumerate(counts, 1)) > 0x10000:
            raise ValueError("more codes than there are")
        is_ac = body[position] >= 16
        entries: list[int] = []
        for length, count in enumerate(counts, 1):
            for symbol in islice(symbols, count):
                entry = _ac_entry(symbol, length) if is_ac else _dc_entry(symbol, length)
                entries += [entry] * (1 << 16 - length)
        yield body[position], entries + [0] * (0x10000 - len(entries))
        position += 17 + sum(counts)


def _dc_entry(symbol: int, length: int) -> int:
    return length << 8 | symbol if symbol <= _MOST_DC_BITS else 0


def _ac_entry(symbol: int, length: int) -> int:
    run, size = symbol >> 4, symbol & 15
    done = run + 1 if size or run == 15 else _END_OF_BLOCK
    return length + size << 8 | done if size <= _MOST_AC_BITS else 0
