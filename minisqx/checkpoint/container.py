"""The HDF5 file around a checkpoint's two parts, written and read without HDF5's library.

    superblock               version 3
    object header of /       the links "payload" and "index", and the attribute index_sha256
    object header of each    its type, its shape, and where its bytes lie: contiguous, in this file
    payload, index           the bytes

A file is data from a stranger, and HDF5 has links, filters, bytes in other files and much else, parsed in C. So nothing but the
above is read: each message as `pack` writes it, or h5py 3.12 to 3.16 in memory, as we once did; and all must fill the file
without a gap. So every byte is under a checksum: HDF5's own (Jenkins's lookup3), or one of the two SHA-256. `pack` gives the
same bytes on every machine, while h5py's differ from version to version, and some hold the time.

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
_MOST_HEADER_BYTES = 1024
_HAS_TIMES = 0x20

# Kinds of messages in an object header. Those that say "nothing" are there because HDF5 asks for them.
_NIL, _DATASPACE, _LINK_INFO, _DATATYPE, _FILL, _LINK, _LAYOUT = 0, 1, 2, 3, 5, 6, 8
_GROUP_INFO, _ATTRIBUTE, _CONTINUATION, _ATTRIBUTE_INFO = 10, 12, 16, 21
_SCALAR = bytes([2, 0, 0, 0])
_UINT8 = struct.pack("<4BI2H", 0x10, 0, 0, 0, 1, 0, 8)

Message = tuple[int, bytes]


class Damage(Exception):
    """Something in a file is not as it is written here."""


@dataclass(frozen=True, order=True)
class Part:
    """Where some bytes lie in the file."""

    offset: int
    size: int


@dataclass(frozen=True)
class Contents:
    """Where the payload and the index lie, and the SHA-256 that the index should have, in hexadecimal."""

    payload: Part
    index: Part
    index_sha256: str


def pack(payload: bytes, index: bytes) -> bytes:
    """The whole file."""
    checksum = hashlib.sha256(index).hexdigest().encode()

    def pieces(root=0, of_payload=0, of_index=0, at_payload=0, at_index=0, end=0) -> Iterator[bytes]:
        yield _summed(_SUPERBLOCK.pack(SIGNATURE, 3, 8, 8, 0, 0, _NOWHERE, end, root))
        yield _header(_root(of_payload, of_index, checksum))
        yield _header(_dataset("payload", Part(at_payload, len(payload))))
        yield _header(_dataset("index", Part(at_index, len(index))))
        yield payload
        yield index

    return b"".join(pieces(*accumulate(map(len, pieces()))))


def unpack(file: BinaryIO) -> Contents:
    """Where the parts of `file` lie; they are not read. Raises Damage for a file that neither `pack` nor h5py wrote so."""
    size = os.fstat(file.fileno()).st_size
    start = _checked(_bytes(file, 0, _START_BYTES))
    _, *versions, base, extension, end, root = _SUPERBLOCK.unpack(start)
    if (*versions, base, extension) != (3, 8, 8, 0, 0, _NOWHERE):
        raise Damage("it is HDF5 of another kind")
    if end != size:
        raise Damage(f"it has {size} bytes and says that it has {end}")
    parts = [Part(0, _START_BYTES)]
    messages = _messages(file, root, parts)
    links = {body[:-8]: int.from_bytes(body[-8:], "little") for kind, body in messages if kind == _LINK}
    of_payload, of_index = (links.get(_link(name), 0) for name in ("payload", "index"))
    checksum = next((body[-64:] for kind, body in messages if kind == _ATTRIBUTE), b"")
    if sorted(messages) != sorted(_root(of_payload, of_index, checksum)):
        raise Damage("expected a payload, an index and its checksum, and nothing else")
    payload = _find(file, of_payload, "payload", parts)
    index = _find(file, of_index, "index", parts)
    parts.sort()
    if [part.offset for part in parts] + [size] != [0, *accumulate(part.size for part in parts)]:
        raise Damage("its parts overlap, or something lies between them")
    return Contents(payload, index, checksum.decode("latin-1"))


def _find(file: BinaryIO, at: int, name: str, parts: list[Part]) -> Part:
    """Where the data set lies whose object header is `at`; it and the header are added to `parts`."""
    messages = _messages(file, at, parts)
    layout = next((body for kind, body in messages if kind == _LAYOUT), b"")
    if len(layout) != 18 or layout[0] not in (3, 4):
        raise Damage(f"the {name} is not stored as it is")
    part = Part(*struct.unpack("<2Q", layout[2:]))
    if sorted(messages) != sorted(_dataset(name, part, layout[0])):
        raise Damage(f"the {name} is of another type, shape or storage")
    parts.append(part)
    return part


def _root(of_payload: int, of_index: int, checksum: bytes) -> list[Message]:
    text = struct.pack("<4BI", 0x13, 1, 0, 0, 64)
    return [
        (_LINK_INFO, struct.pack("<2B2Q", 0, 0, _NOWHERE, _NOWHERE)),
        (_GROUP_INFO, bytes(2)),
        (_LINK, _link("payload") + of_payload.to_bytes(8, "little")),
        (_LINK, _link("index") + of_index.to_bytes(8, "little")),
        (_ATTRIBUTE_INFO, struct.pack("<2B2Q", 0, 0, _NOWHERE, _NOWHERE)),
        (_ATTRIBUTE, struct.pack("<2B3HB", 3, 0, 13, 8, 4, 0) + b"index_sha256\0" + text + _SCALAR + checksum),
    ]


def _link(name: str) -> bytes:
    """A hard link's message up to the address."""
    return bytes([1, 0, len(name)]) + name.encode()


def _dataset(name: str, part: Part, layout_version: int = 3) -> list[Message]:
    """The payload is a row of uint8, the index one string in UTF-8. Both are contiguous, without any filter."""
    row = struct.pack("<4B2Q", 2, 1, 1, 1, part.size, part.size)
    text = struct.pack("<4BI", 0x13, 0x11, 0, 0, part.size & 0xFFFFFFFF)
    return [
        *([(_DATASPACE, row), (_DATATYPE, _UINT8)] if name == "payload" else [(_DATASPACE, _SCALAR), (_DATATYPE, text)]),
        (_FILL, bytes([3, 10])),
        (_LAYOUT, struct.pack("<2B2Q", layout_version, 1, part.offset, part.size)),
    ]


def _header(messages: list[Message]) -> bytes:
    """An object header of version 2 that holds `messages`."""
    packed = b"".join(struct.pack("<BHB", kind, len(body), 0) + body for kind, body in messages)
    return _summed(b"OHDR" + struct.pack("<2BH", 2, 1, len(packed)) + packed)


def _messages(file: BinaryIO, at: int, parts: list[Part]) -> list[Message]:
    """What the object header `at` says. Its one or two blocks are added to `parts`."""
    start = _bytes(file, at, 26)
    flags = start[5]
    if start[:5] != b"OHDR\x02" or flags & ~(_HAS_TIMES | 3):
        raise Damage("an object header is missing, or of another kind")
    width = 1 << (flags & 3)  # of the number of bytes that follow
    first = 6 + (16 if flags & _HAS_TIMES else 0) + width
    blocks = [(Part(at, first + int.from_bytes(_bytes(file, at + first - width, width), "little") + 4), first)]
    found = []
    for block, position in blocks:
        data = _checked(_bytes(file, block.offset, block.size))
        parts.append(block)
        while position < len(data):
            kind, size, _ = struct.unpack("<BHB", data[position : position + 4].ljust(4, b"\0"))
            body, position = data[position + 4 : position + 4 + size], position + 4 + size
            if kind == _CONTINUATION and len(body) == 16 and len(blocks) == 1:
                blocks.append((Part(*struct.unpack("<2Q", body)), 4))  # after its signature, "OCHK"
            elif kind != _NIL or any(body):
                found.append((kind, body))
        if position > len(data):
            raise Damage("an object header is cut off")
    return found


def _bytes(file: BinaryIO, at: int, size: int) -> bytes:
    """`size` bytes of a header. Raises Damage for more than one ever has, and beyond the end."""
    if size > _MOST_HEADER_BYTES or at >= 2**63:
        raise Damage("an object header is far too large, or far away")
    file.seek(at)
    data = file.read(size)
    if len(data) < size:
        raise Damage("it is cut off, or an object header lies beyond its end")
    return data


def _summed(data: bytes) -> bytes:
    return data + struct.pack("<I", lookup3(data))


def _checked(data: bytes) -> bytes:
    """`data` without the checksum at its end. Raises Damage where that is wrong."""
    if _summed(data[:-4]) != data:
        raise Damage("a header doesn't have its checksum")
    return data[:-4]


def lookup3(data: bytes) -> int:
    """Bob Jenkins's hash of that name (`hashlittle`, started with 0), which ends each of HDF5's structures."""
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
