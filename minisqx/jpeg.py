"""JPEG files by their markers: how many scans there are, and whether a file that lacks its last marker lacks pixels, too."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

SCAN, END = 0xDA, 0xD9
# A frame says how its scans are coded: each at once, or in finer and finer steps.
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)
# Frames that Pillow's library does not know: lossless, hierarchical.
UNREAD = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_END = b"\xff\xd9"
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# Two ways in which a scan may go on: bits that differ at once, in bytes of which none is part of a marker.
_BITS = [bytes((step * number + first) % 253 + 1 for number in range(64)) for first, step in ((90, 83), (165, 59))]


def segments(content: bytes, at: int = 2) -> Iterator[tuple[int, bytes]]:
    """(marker, data) of each segment from the byte `at` on, up to the picture's end; the bits of scans are passed over."""
    while (found := _MARKER.search(content, at)) and found[0][1] != END:
        # What follows a marker starts with its length, which counts itself.
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
        yield found[0][1], content[found.end() + 2 : at]


def with_end(content: bytes, digest: Callable[[bytes], bytes]) -> bytes | None:
    """The file with the marker that ends it, if nothing else is missing; None if anything is.

    digest: decodes a file and gives a hash of its pixels.
    The decoder makes up what a scan lacks and says nothing of it. So the scan is continued in two ways, and not at all: if it
    has all of its bits, the decoder asks for no more, and the pixels are the same each time.
    """
    # The marker's first byte may be there.
    body = content.rstrip(b"\xff")
    if not _has_all_scans(body):
        return None
    restarts = _RESTART.findall(body, body.rindex(bytes([0xFF, SCAN])))
    restart = bytes([0xFF, 0xD0 + len(restarts) % 8])
    files = (body + tail + _END for tail in (*(bits + restart + bits for bits in _BITS), b""))
    try:
        return None if any(a != b for a, b in pairwise(map(digest, files))) else body + _END
    except MemoryError:
        raise
    except Exception:
        return None


def _has_all_scans(content: bytes) -> bool:
    """Whether each coefficient of each component has a scan that gives its last bit."""
    steps: dict[int, list[int]] = {}
    progressive = False
    for marker, data in segments(content):
        if marker in SEQUENTIAL + PROGRESSIVE:
            progressive = marker in PROGRESSIVE
            steps = {component: [1] * 64 for component in data[6::3]}
        elif marker == SCAN and data:
            end = 1 + 2 * data[0]
            first, last, bits = data[end : end + 3] if progressive and len(data) == end + 3 else (0, 63, 0)
            for component in data[1:end:2]:
                for coefficient in range(first, min(last, 63) + 1):
                    steps.setdefault(component, [1] * 64)[coefficient] = bits & 15
    return bool(steps) and not any(map(any, steps.values()))
