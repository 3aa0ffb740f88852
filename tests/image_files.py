"""Writes image files byte by byte: files that no library writes, or not in the same way in each version."""

import io
import struct
import zlib

from PIL import Image


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    """The image's file as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_chunk(chunk_type: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + chunk_type + data + struct.pack(">I", zlib.crc32(chunk_type + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *, before: bytes = b"", interlace: int = 0) -> bytes:
    """rows: each starts with its filter byte. before: chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    pixels = png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + pixels + png_chunk(b"IEND", b"")


def tiff(tags: dict[int, tuple[str, list[int]]], data: bytes, order: str = "<", next_directory: int = 0) -> bytes:
    """One directory at byte 8, then what does not fit into it, then `data`. tags: {tag: (type, values)}.

    A type is a letter of `struct`: B, H, I, h; a value "data" is the place of the data.
    """
    codes = {"B": 1, "H": 3, "I": 4, "h": 8}
    directory_end = 8 + 2 + 12 * len(tags) + 4
    sizes = {tag: struct.calcsize(kind) * len(values) for tag, (kind, values) in tags.items()}
    data_at = directory_end + sum(size for size in sizes.values() if size > 4)
    entries, outside = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *(data_at if value == "data" else value for value in values))
        if sizes[tag] > 4:
            place = struct.pack(order + "I", directory_end + len(outside))
            outside += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, codes[kind], len(values)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", next_directory) + outside + data


def tiff_image(width, height, photometric, bits, data, order="<", compression=1, **more) -> bytes:
    """A picture in one strip. bits: of each sample. more: sample_format, extra_samples, color_map, orientation and others."""
    tags = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", list(bits)),
        259: ("H", [compression]),
        262: ("H", [photometric]),
        273: ("I", ["data"]),
        277: ("H", [len(bits)]),
        278: ("I", [height]),
        279: ("I", [len(data)]),
    }
    names = {"extra_samples": (338, "H"), "sample_format": (339, "H"), "color_map": (320, "H"), "orientation": (274, "H")}
    for name, values in more.items():
        tag, kind = names[name]
        tags[tag] = (kind, list(values))
    return tiff(tags, data, order)


def bmp(width: int, height: int, bits: int, data: bytes, *, palette: bytes = b"", compression: int = 0, masks=()) -> bytes:
    """Rows from the bottom, each padded to 4 bytes."""
    extra = struct.pack(f"<{len(masks)}I", *masks)
    header_size = 40 if len(masks) <= 3 else 56
    inside = extra if header_size == 56 else b""
    header = struct.pack("<IiiHHIIiiII", header_size, width, height, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0)
    after = palette if header_size == 56 else extra + palette
    start = 14 + header_size + len(after)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + inside + after + data


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webp_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """The inverse of `riff`."""
    chunks, at = [], 12
    while at + 8 <= len(content):
        size = struct.unpack_from("<I", content, at + 4)[0]
        chunks.append((content[at : at + 4], content[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def jpeg_segments(content: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """(marker, data) of every segment up to the first scan's, and all that follows it."""
    segments, at = [], 2
    while True:
        marker, size = content[at + 1], struct.unpack_from(">H", content, at + 2)[0]
        segments.append((marker, content[at + 4 : at + 2 + size]))
        at += 2 + size
        if marker == 0xDA:
            return segments, content[at:]


def jpeg(segments: list[tuple[int, bytes]], rest: bytes) -> bytes:
    """The inverse of `jpeg_segments`."""
    return b"\xff\xd8" + b"".join(struct.pack(">BBH", 255, kind, len(data) + 2) + data for kind, data in segments) + rest
