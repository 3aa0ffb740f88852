"""Reads the markers and codes of a JPEG: how many scans it has, and whether it lacks only its end-of-image marker.

Source: ITU-T T.81, "Digital compression and coding of continuous-tone still images", annexes B, F and G.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

SCAN, END = 0xDA, 0xD9
TABLES, RESTART_INTERVAL = 0xC4, 0xDD
# The markers from 0xC0 to 0xCF that begin no frame: tables, and a reserved one.
NO_FRAMES = (TABLES, 0xC8, 0xCC)
# A frame's marker gives the coding of its scans: sequential, or progressive. The end of arithmetic codes can't be determined.
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
# Frames that libjpeg can't decode: lossless, hierarchical.
UNREAD = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
# Reading all codes of a photograph takes some 0.5 s per million bytes.
MAX_BYTES = 8_000_000
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
_END = b"\xff\xd9"
_BEYOND = 1 << 40  # more bits than any file has
# More bytes than a block takes.
_SPARE = bytes(512)

# (length of the code in bits, its symbol), in ascending order of codes.
Codes = list[tuple[int, int]]


@dataclass(frozen=True)
class _Component:
    """blocks_of_unit: its blocks in a unit (MCU) of a scan of several components. blocks: its blocks in a scan of its own."""

    blocks_of_unit: int
    blocks: int


@dataclass(frozen=True)
class _Scan:
    progressive: bool
    components: list[_Component]
    names: bytes
    tables: list[tuple[Codes, Codes]]  # of each component: DC, AC
    first: int
    last: int
    is_refined: bool
    bits_after: int  # the low bits of each coefficient that later scans still have to add
    frame: list[int]
    units: int
    restart: int
    start: int
    end: int


def segments(content: bytes, at: int = 2) -> Iterator[tuple[int, bytes, int]]:
    """(marker, data, place of its end) of each segment from byte `at` to the end of the image; the codes of scans are skipped."""
    while (found := _MARKER.search(content, at)) and found[0][1] != END:
        # The segment's length follows its marker, and includes its own two bytes.
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
        yield found[0][1], content[found.end() + 2 : at], at


def has_one_scan(headers: bytes) -> bool:
    """Whether these headers, up to and including the first scan's, are those of a picture that is coded in one scan.

    libjpeg decodes such a picture as it reads that scan, and refuses the file if another scan follows.
    """
    found = [(marker, data) for marker, data, _ in segments(headers)]
    frames = [(marker, data) for marker, data in found if 0xC0 <= marker <= 0xCF and marker not in NO_FRAMES]
    if len(frames) != 1 or frames[0][0] not in SEQUENTIAL or not found[-1][1]:
        return False
    return found[-1][0] == SCAN and frames[0][1][5:6] == found[-1][1][:1]


def with_end(content: bytes) -> bytes | None:
    """The file with its end-of-image marker added, if nothing else is missing; None otherwise, or if that can't be determined.

    The decoder silently fills in what a scan lacks. So the codes of the last scan are read here: the scan is complete if they end
    in the file's last byte, and ones fill the rest of that byte.
    """
    # The marker's first byte may be present.
    body = content.rstrip(b"\xff")
    try:
        return body + _END if len(body) <= MAX_BYTES and _is_whole(body) else None
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        return None  # the headers are damaged


def _is_whole(body: bytes) -> bool:
    scans = list(_scans(body))
    if not scans or scans[-1].end != len(body) or not _has_last_bits(scans):
        return False
    last = scans[-1]
    if not last.progressive:
        return _walk_units(last, body)
    if last.first == 0:
        return _walk_units(last, body)
    # A coefficient has a correction bit here if an earlier scan made it nonzero.
    known = bytearray(64 * last.units)
    before = [scan for scan in scans[:-1] if scan.names == last.names and scan.first > 0] if last.is_refined else []
    return all(_walk_band(scan, body, known) for scan in (*before, last))


def _scans(content: bytes) -> Iterator[_Scan]:
    tables: dict[int, Codes] = {}
    frame: dict[int, _Component] = {}
    progressive, restart, units = False, 0, 0
    for marker, data, at in segments(content):
        if marker in (*SEQUENTIAL, PROGRESSIVE):
            progressive = marker == PROGRESSIVE
            frame, units = _frame(data)
        elif marker == TABLES:
            tables = tables | dict(_tables(data))
        elif marker == RESTART_INTERVAL:
            restart = int.from_bytes(data[:2], "big")
        elif marker == SCAN:
            end = 1 + 2 * data[0]
            names, chosen = data[1:end:2], data[2:end:2]
            first, last, bits = data[end : end + 3] if progressive else (0, 63, 0)
            if last > 63:
                raise ValueError("a coefficient beyond the last one")
            components = [frame[name] for name in names]
            following = _MARKER.search(content, at)
            yield _Scan(
                progressive,
                components,
                names,
                [(tables.get(both >> 4, []), tables.get(16 | both & 15, [])) for both in chosen],
                first,
                last,
                bits >> 4 > 0,
                bits & 15,
                list(frame),
                units if len(names) > 1 else components[0].blocks,
                restart,
                at,
                following.start() if following else len(content),
            )


def _frame(data: bytes) -> tuple[dict[int, _Component], int]:
    """The components by their identifiers, and the number of units in a scan of several components."""
    height, width = int.from_bytes(data[1:3], "big"), int.from_bytes(data[3:5], "big")
    factors = {name: (both >> 4, both & 15) for name, both in zip(data[6::3], data[7::3], strict=False)}
    most = [max(factor[axis] for factor in factors.values()) for axis in (0, 1)]

    def blocks(across: int, down: int) -> int:
        return -(-width * across // (8 * most[0])) * -(-height * down // (8 * most[1]))

    components = {name: _Component(across * down, blocks(across, down)) for name, (across, down) in factors.items()}
    return components, blocks(1, 1)


def _tables(data: bytes) -> Iterator[tuple[int, Codes]]:
    while data:
        counts, symbols = data[1:17], data[17 : 17 + sum(data[1:17])]
        lengths = (length for length, count in enumerate(counts, 1) for _ in range(count))
        yield data[0], list(zip(lengths, symbols, strict=True))
        data = data[17 + len(symbols) :]


def _lookup(codes: Codes, what: Callable[[int, int], tuple[int, int]]) -> list[tuple[int, int]]:
    """A table indexed by the next 16 bits, of what(length of the code, its symbol)."""
    found: list[tuple[int, int]] = []
    for length, symbol in codes:
        found += [what(length, symbol)] * (1 << 16 - length)
    return (found + [(_BEYOND, 0)] * (0x10000 - len(found)))[:0x10000]


def _has_last_bits(scans: list[_Scan]) -> bool:
    """Whether the scans together give every bit of every coefficient of every component."""
    missing = {name: [1] * 64 for name in scans[-1].frame}
    for scan in scans:
        for name in scan.names:
            missing[name][scan.first : scan.last + 1] = [scan.bits_after] * (scan.last + 1 - scan.first)
    return not any(map(any, missing.values()))


def _intervals(scan: _Scan, body: bytes) -> list[tuple[int, bytes]]:
    """(number of units, bytes without stuffing) of each interval of the scan between restart markers."""
    parts = _RESTART.split(body[scan.start : scan.end])
    counts = [scan.restart] * (len(parts) - 1)
    counts.append(scan.units - sum(counts))
    if not 0 < counts[-1] <= (scan.restart or scan.units):
        raise ValueError("a wrong number of restart markers")
    return [(count, part.replace(b"\xff\0", b"\xff")) for count, part in zip(counts, parts, strict=True)]


def _windows(data: bytes) -> memoryview:
    """The 24 bits that begin at each byte, with zeros after the end."""
    padded = np.frombuffer(data + _SPARE, np.uint8).astype(np.uint32)
    return memoryview(padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:])


def _ends(data: bytes, at: int) -> bool:
    """Whether codes that end at bit `at` end in the last byte, and ones fill the rest of it."""
    left = 8 * len(data) - at
    return 0 <= left < 8 and (not left or data[-1] & (1 << left) - 1 == (1 << left) - 1)


def _walk_units(scan: _Scan, body: bytes) -> bool:
    """Whether a scan of whole blocks, or of DC coefficients, is complete since its last restart marker."""
    units, data = _intervals(scan, body)[-1]
    if scan.progressive and scan.is_refined:
        blocks = sum(component.blocks_of_unit for component in scan.components) if len(scan.components) > 1 else 1
        return _ends(data, units * blocks)
    windows, bits = _windows(data), 8 * len(data)
    unit = []
    for component, (dc, ac) in zip(scan.components, scan.tables, strict=True):
        # The bits of a code and its value, and the distance to the next coefficient.
        steps = _lookup(dc, lambda length, symbol: (length + symbol, 1))
        more = _lookup(ac, lambda length, symbol: (length + (symbol & 15), _step(symbol)))
        unit += [(steps, more)] * (component.blocks_of_unit if len(scan.components) > 1 else 1)
    last, at = (0 if scan.progressive else 63), 0
    for _ in range(units):
        for steps, more in unit:
            length, coefficient = steps[windows[at >> 3] >> 8 - (at & 7) & 0xFFFF]
            at += length
            while coefficient <= last and at < bits:
                length, step = more[windows[at >> 3] >> 8 - (at & 7) & 0xFFFF]
                at += length
                coefficient += step
            if at > bits or coefficient <= last:
                return False
    return _ends(data, at)


def _step(symbol: int) -> int:
    """How far an AC symbol moves on: past its zeros and its coefficient, or to the end of the block."""
    return (symbol >> 4) + 1 if symbol & 15 or symbol == 0xF0 else 64


def _walk_band(scan: _Scan, body: bytes, known: bytearray) -> bool:
    """Whether a progressive scan of AC coefficients is complete.

    known: for each coefficient of each block, 1 if it is nonzero so far; updated.
    """
    codes, block = _lookup(scan.tables[0][1], lambda length, symbol: (length, symbol)), 0
    for blocks, data in _intervals(scan, body):
        windows, bits, at, end = _windows(data), 8 * len(data), 0, block + blocks
        while block < end:
            here, stop, run = 64 * block + scan.first, 64 * block + scan.last + 1, 0
            while here < stop:
                if at >= bits:
                    return False
                length, symbol = codes[windows[at >> 3] >> 8 - (at & 7) & 0xFFFF]
                at += length
                zeros, size = symbol >> 4, symbol & 15
                if at > bits:
                    return False
                if not size and zeros < 15:
                    # End of band: the rest of this block and `run` - 1 further blocks have no new coefficient.
                    run = (1 << zeros) + ((windows[at >> 3] >> 8 - (at & 7) & 0xFFFF) >> 16 - zeros)
                    at += zeros
                    break
                at += size
                while here < stop and (zeros or known[here]):
                    # A nonzero coefficient takes a correction bit, and does not count as a zero of the run.
                    at += known[here] if scan.is_refined else 0
                    zeros -= not (scan.is_refined and known[here])
                    here += 1
                if size:
                    if here >= stop:
                        return False
                    known[here] = 1
                here += 1
            block += max(run, 1)
            if block > end:
                return False
            if scan.is_refined and run:
                places = (64 * number for number in range(block - run + 1, block))
                at += known.count(1, here, stop)
                at += sum(known.count(1, place + scan.first, place + scan.last + 1) for place in places)
        if not _ends(data, at):
            return False
    return True
