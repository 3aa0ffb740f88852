"""The HDF5 structures around a checkpoint's payload and index, read and written without the HDF5 library.

    superblock               version 3
    object header of /       the links "payload" and "index", and the attribute index_sha256
    object header of each    its type, its shape, and the offset of its bytes, contiguous in this file
    payload, index           the bytes

A file may come from a stranger, and HDF5 has links, filters, external data and more, parsed in C. So only the structure above is
accepted: messages as `pack` writes them, or as h5py 3.12 to 3.16 did for older versions of minisqx, that fill the file without a
gap. Every byte is then covered by a checksum: HDF5's own (Jenkins's lookup3), or one of the two SHA-256. `pack` gives the same
bytes on every machine; those of h5py depend on its version, and may contain the time.

Source: "HDF5 File Format Specification Version 3.0".
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_SUPERBLOCK = struct.Struct("<8s4B4Q")  # signature; version, bytes of an offset and of a length, flags; base, extension, end, /
_START_BYTES = _SUPERBLOCK.size + 4
_NOWHERE = 2**64 - 1
_MAX_HEADER_BYTES = 1024
_HAS_TIMES = 0x20

# Types of messages in an object header. HDF5 requires some that carry no information here.
_NIL, _DATASPACE, _LINK_INFO, _DATATYPE, _FILL, _LINK, _LAYOUT = 0, 1, 2, 3, 5, 6, 8
_GROUP_INFO, _ATTRIBUTE, _CONTINUATION, _ATTRIBUTE_INFO = 10, 12, 16, 21
_SCALAR = bytes([2, 0, 0, 0])
_UINT8 = struct.pack("<4BI2H", 0x10, 0, 0, 0, 1, 0, 8)

Message = tuple[int, bytes]


class Damage(Exception):
    """A file doesn't have the expected structure."""


@dataclass(frozen=True, order=True)
class Span:
    """A range of bytes in the file."""

    offset: int
    size: int


@dataclass(frozen=True)
class Contents:
    """Where payload and index are, and the expected SHA-256 of the index, in hexadecimal."""

    payload: Span
    index: Span
    index_sha256: str


def pack(payload: bytes, index: bytes) -> bytes:
    """The bytes of the whole file."""
    checksum = hashlib.sha256(index).hexdigest().encode()

    def pieces(root=0, payload_header=0, index_header=0, payload_at=0, index_at=0, end=0) -> Iterator[bytes]:
        yield _summed(_SUPERBLOCK.pack(SIGNATURE, 3, 8, 8, 0, 0, _NOWHERE, end, root))
        yield _header(_root(payload_header, index_header, checksum))
        yield _header(_dataset("payload", Span(payload_at, len(payload))))
        yield _header(_dataset("index", Span(index_at, len(index))))
        yield payload
        yield index

    # Sizes don't depend on the offsets, so a first pass without offsets gives them.
    return b"".join(pieces(*accumulate(map(len, pieces()))))


def unpack(file: BinaryIO) -> Contents:
    """Finds payload and index in `file` without reading them. Raises Damage for any other structure."""
    size = os.fstat(file.fileno()).st_size
    start = _checked(_bytes(file, 0, _START_BYTES))
    _, *versions, base, extension, end, root = _SUPERBLOCK.unpack(start)
    if (*versions, base, extension) != (3, 8, 8, 0, 0, _NOWHERE):
        raise Damage("it is HDF5 of another version")
    if end != size:
        raise Damage(f"it has {size} bytes instead of {end}")
    spans = [Span(0, _START_BYTES)]
    messages = _messages(file, root, spans)
    links = {body[:-8]: int.from_bytes(body[-8:], "little") for type_, body in messages if type_ == _LINK}
    payload_header, index_header = (links.get(_link(name), 0) for name in ("payload", "index"))
    checksum = next((body[-64:] for type_, body in messages if type_ == _ATTRIBUTE), b"")
    if sorted(messages) != sorted(_root(payload_header, index_header, checksum)):
        raise Damage("expected a payload, an index and its checksum, and nothing else")
    payload = _find(file, payload_header, "payload", spans)
    index = _find(file, index_header, "index", spans)
    spans.sort()
    if [span.offset for span in spans] + [size] != [0, *accumulate(span.size for span in spans)]:
        raise Damage("its parts overlap, or leave gaps")
    return Contents(payload, index, checksum.decode("latin-1"))


def _find(file: BinaryIO, at: int, name: str, spans: list[Span]) -> Span:
    """The span of the dataset whose object header is at offset `at`; appends it and the header's to `spans`."""
    messages = _messages(file, at, spans)
    layout = next((body for type_, body in messages if type_ == _LAYOUT), b"")
    if len(layout) != 18 or layout[0] not in (3, 4):
        raise Damage(f"the {name} is not stored contiguously")
    span = Span(*struct.unpack("<2Q", layout[2:]))
    if sorted(messages) != sorted(_dataset(name, span, layout[0])):
        raise Damage(f"the {name} has another type, shape or storage")
    spans.append(span)
    return span


def _root(payload_header: int, index_header: int, checksum: bytes) -> list[Message]:
    """The messages of the root group. payload_header, index_header: offsets of their object headers."""
    text = struct.pack("<4BI", 0x13, 1, 0, 0, 64)
    return [
        (_LINK_INFO, struct.pack("<2B2Q", 0, 0, _NOWHERE, _NOWHERE)),
        (_GROUP_INFO, bytes(2)),
        (_LINK, _link("payload") + payload_header.to_bytes(8, "little")),
        (_LINK, _link("index") + index_header.to_bytes(8, "little")),
        (_ATTRIBUTE_INFO, struct.pack("<2B2Q", 0, 0, _NOWHERE, _NOWHERE)),
        (_ATTRIBUTE, struct.pack("<2B3HB", 3, 0, 13, 8, 4, 0) + b"index_sha256\0" + text + _SCALAR + checksum),
    ]


def _link(name: str) -> bytes:
    """The message of a hard link, without the address at its end."""
    return bytes([1, 0, len(name)]) + name.encode()


def _dataset(name: str, span: Span, layout_version: int = 3) -> list[Message]:
    """The messages of a dataset: uint8 (bytes,) for the payload, a scalar UTF-8 string for the index; contiguous, no filters."""
    row = struct.pack("<4B2Q", 2, 1, 1, 1, span.size, span.size)
    text = struct.pack("<4BI", 0x13, 0x11, 0, 0, span.size & 0xFFFFFFFF)
    return [
        *([(_DATASPACE, row), (_DATATYPE, _UINT8)] if name == "payload" else [(_DATASPACE, _SCALAR), (_DATATYPE, text)]),
        (_FILL, bytes([3, 10])),
        (_LAYOUT, struct.pack("<2B2Q", layout_version, 1, span.offset, span.size)),
    ]


def _header(messages: list[Message]) -> bytes:
    """An object header of version 2 with these messages."""
    packed = b"".join(struct.pack("<BHB", type_, len(body), 0) + body for type_, body in messages)
    return _summed(b"OHDR" + struct.pack("<2BH", 2, 1, len(packed)) + packed)


def _messages(file: BinaryIO, at: int, spans: list[Span]) -> list[Message]:
    """The messages of the object header at offset `at`; appends the spans of its one or two blocks to `spans`."""
    start = _bytes(file, at, 26)
    flags = start[5]
    if start[:5] != b"OHDR\x02" or flags & ~(_HAS_TIMES | 3):
        raise Damage("an object header is missing, or of another version")
    width = 1 << (flags & 3)  # bytes of the field that holds the size of the first block
    first = 6 + (16 if flags & _HAS_TIMES else 0) + width
    blocks = [(Span(at, first + int.from_bytes(_bytes(file, at + first - width, width), "little") + 4), first)]
    found = []
    for block, position in blocks:
        data = _checked(_bytes(file, block.offset, block.size))
        spans.append(block)
        while position < len(data):
            type_, size, _ = struct.unpack("<BHB", data[position : position + 4].ljust(4, b"\0"))
            body, position = data[position + 4 : position + 4 + size], position + 4 + size
            if type_ == _CONTINUATION and len(body) == 16 and len(blocks) == 1:
                blocks.append((Span(*struct.unpack("<2Q", body)), 4))  # after its signature, "OCHK"
            elif type_ != _NIL or any(body):
                found.append((type_, body))
        if position > len(data):
            raise Damage("an object header is cut off")
    return found


def _bytes(file: BinaryIO, at: int, size: int) -> bytes:
    """Reads `size` bytes of a header at offset `at`. Raises Damage for more than headers have, and beyond the end of the file."""
    if size > _MAX_HEADER_BYTES or at >= 2**63:
        raise Damage("an object header is too large, or its offset is")
    file.seek(at)
    data = file.read(size)
    if len(data) < size:
        raise Damage("it is cut off, or an object header is beyond its end")
    return data


def _summed(data: bytes) -> bytes:
    """`data` with its checksum appended."""
    return data + struct.pack("<I", lookup3(data))


def _checked(data: bytes) -> bytes:
    """`data` without the checksum at its end. Raises Damage if that is wrong."""
    if _summed(data[:-4]) != data:
        raise Damage("the checksum of a header is wrong")
    return data[:-4]


def lookup3(data: bytes) -> int:
    """Bob Jenkins's lookup3 (`hashlittle` with initial value 0), the checksum of HDF5's structures."""
    blocks = -(-len(data) // 12)
    words = struct.unpack(f"<{3 * blocks}I", data.ljust(12 * blocks, b"\0"))
    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    for at in range(0, len(words) - 3, 3):
        a, b, c = ((value + word) & 0xFFFFFFFF for value, word in zip((a, b, c), words[at : at + 3]))
        for bits in (4, 6, 8, 16, 19, 4):
            a, b, c = b, (c + b) & 0xFFFFFFFF, ((a - c) & 0xFFFFFFFF) ^ _rotated(c, bits)
    if words:
        a, b, c = ((value + word) & 0xFFFFFFFF for value, word in zip((a, b, c), words[-3:]))
        for bits in (14, 11, 25, 16, 4, 14, 24):
            a, b, c = b, ((c ^ b) - _rotated(b, bits)) & 0xFFFFFFFF, a
        return b
    return c


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & 0xFFFFFFFF
