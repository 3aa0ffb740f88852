"""Reads the boxes of an AVIF file to count the pixels of its parts, which may exceed the size that the file claims.

A part is a still image coded in AV1: the picture, a tile of it, its alpha, a thumbnail. Boxes follow ISO/IEC 14496-12 and
23008-12; open bitstream units (OBUs) and the sequence header follow the AV1 specification, 5.3 and 5.5.
"""

from collections.abc import Iterator

MAX_PARTS = 1000
# A still image has one frame, or a few in layers; decoding thousands would take minutes.
MAX_FRAMES = 8
SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6


class TooMuchError(Exception):
    """The file makes the decoder do more work than any picture needs."""


def pixels(content: bytes) -> int:
    """The number of pixels of all parts together. Raises TooMuchError; for a damaged file any exception."""
    top = dict(_boxes(content, 0, len(content)))
    parts = _tracks(content, top[b"moov"]) if content[8:12] == b"avis" else _items(content, top[b"meta"])
    return sum(map(_part_pixels, parts))


def is_avif(start: bytes) -> bool:
    """Whether a file with these first bytes is an AVIF."""
    brands = start[8 : int.from_bytes(start[:4], "big")]
    return start[4:8] == b"ftyp" and any(brands[at : at + 4] in (b"avif", b"avis") for at in (0, *range(8, len(brands), 4)))


def _boxes(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """(type, (start, end) of its content) of each box."""
    while at + 8 <= end:
        size, head = int.from_bytes(content[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        stop = min(at + size, end) if size else end
        if stop < at + head:
            return
        yield content[at + 4 : at + 8], (at + head, stop)
        at = stop


class _Numbers:
    """Reads big-endian integers one after the other."""

    def __init__(self, content: bytes, at: int):
        self.content, self.at = content, at

    def next(self, size: int) -> int:
        self.at += size
        if self.at > len(self.content):
            raise EOFError("a box ends too early")
        return int.from_bytes(self.content[self.at - size : self.at], "big")


def _items(content: bytes, meta: tuple[int, int]) -> Iterator[bytes]:
    """Each coded image that the box `meta` describes."""
    # `meta` is a full box: four bytes of version and flags come first.
    inside = dict(_boxes(content, meta[0] + 4, meta[1]))
    coded, places = _coded_items(content, inside[b"iinf"]), _Numbers(content, inside[b"iloc"][0])
    version, sizes = places.next(4) >> 24, places.next(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(_few(places.next(2 if version < 2 else 4))):
        item = places.next(2 if version < 2 else 4)
        in_idat = bool(version and places.next(2) & 15)
        places.next(2)
        start = places.next(base) + (inside[b"idat"][0] if in_idat else 0)
        part = b""
        for _ in range(_few(places.next(2))):
            if version:
                places.next(index)
            first, size = start + places.next(offset), places.next(length)
            part += content[first : first + size if size else len(content)]
        if item in coded:
            yield part


def _coded_items(content: bytes, iinf: tuple[int, int]) -> set[int]:
    """The numbers of the items that are coded in AV1."""
    at = iinf[0] + (6 if content[iinf[0]] == 0 else 8)
    found = set()
    for number, (_, (start, end)) in enumerate(_boxes(content, at, iinf[1])):
        _few(number)
        size = 2 if content[start] < 3 else 4
        if content[start + 4 + size + 2 : end][:4] == b"av01":
            found.add(int.from_bytes(content[start + 4 : start + 4 + size], "big"))
    return found


def _tracks(content: bytes, moov: tuple[int, int]) -> Iterator[bytes]:
    """The first frame of each track."""
    for box_type, place in _boxes(content, *moov):
        if box_type != b"trak":
            continue
        for name in (b"mdia", b"minf", b"stbl"):
            place = dict(_boxes(content, *place))[name]
        table = dict(_boxes(content, *place))
        is_wide = b"co64" in table
        start = _Numbers(content, table[b"co64" if is_wide else b"stco"][0] + 8).next(8 if is_wide else 4)
        sizes = _Numbers(content, table[b"stsz"][0] + 4)
        size = sizes.next(4) or (sizes.next(4) and sizes.next(4))
        yield content[start : start + size]


def _few(count: int) -> int:
    """The count. Raises TooMuchError if it is above MAX_PARTS."""
    if count > MAX_PARTS:
        raise TooMuchError(f"has more than {MAX_PARTS} parts")
    return count


def _part_pixels(part: bytes) -> int:
    """The largest size that a sequence header of the part allows for a frame."""
    at, frames, largest = 0, 0, 0
    while at < len(part):
        obu_type, has_extension, has_size = part[at] >> 3 & 15, part[at] >> 2 & 1, part[at] >> 1 & 1
        at += 1 + has_extension
        size = len(part) - at
        if has_size:
            # LEB128: seven bits a byte, the lowest first.
            size, shift = 0, 0
            while True:
                byte = part[at]
                size |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128 or shift > 49:
                    break
        if obu_type == SEQUENCE_HEADER:
            largest = max(largest, _frame_pixels(part[at : at + min(size, 200)]))
        frames += obu_type in (FRAME_HEADER, FRAME)
        if frames > MAX_FRAMES:
            raise TooMuchError(f"has more than {MAX_FRAMES} frames in a part")
        at += size
    return largest


def _frame_pixels(header: bytes) -> int:
    """Width times height in a sequence header."""
    value, left = int.from_bytes(header, "big"), 8 * len(header)

    def bits(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise EOFError("a sequence header ends too early")
        return value >> left & (1 << count) - 1

    bits(4)  # profile, still picture
    if bits(1):
        bits(5)  # one operating point
    else:
        delay = 0
        if bits(1):  # timing
            bits(64)
            if bits(1):
                zeros = 0
                while not bits(1):
                    zeros += 1
                bits(zeros)
            if bits(1):  # decoder model
                delay = bits(5) + 1
                bits(42)
        display = bits(1)
        for _ in range(bits(5) + 1):
            bits(12)
            if bits(5) > 7:
                bits(1)
            if delay and bits(1):
                bits(2 * delay + 1)
            if display and bits(1):
                bits(4)
    width, height = bits(4) + 1, bits(4) + 1
    return (bits(width) + 1) * (bits(height) + 1)
