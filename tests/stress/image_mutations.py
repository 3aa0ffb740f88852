"""Image files that are nearly valid: sample files, and `mutate`, which knows the structure of their formats."""

import random
import struct

import numpy as np
from PIL import Image, features

from tests.golden_pixels import golden
from tests.image_files import encoded, jpeg, jpeg_segments, png_chunk, riff, tiff, webp_chunks

# Sizes, counts and offsets that programs often handle wrong, also those of images just within the limits.
NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 127, 128, 255, 256, 2800, 4095, 7999, 8000, 9000, 32767, 32768, 65500, 65535, 65536)
NUMBERS += (8_000_000, 2**24 - 1, 70_000_000, 2**31 - 1, 2**31, 2**32 - 1)


def samples() -> list[tuple[str, bytes]]:
    """(name, content) of valid files: those of the golden table, and images of noise in all formats and modes."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 40, 4), np.uint8)
    picture, alpha = Image.fromarray(noise[:, :, :3].copy()), Image.frombytes("RGBA", (40, 30), noise.tobytes())
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    notes = {"exif": exif, "icc_profile": noise.tobytes()[:400]}
    film = {"save_all": True, "append_images": [picture.rotate(90 * turn) for turn in (1, 2)]}
    ways = [("PNG", "RGB", notes), ("PNG", "RGBA", {}), ("PNG", "RGB", film), ("GIF", "P", {}), ("GIF", "RGB", film)]
    ways += [("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "I;16")]
    ways += [("JPEG", "RGB", notes | {"subsampling": s, "progressive": p}) for s in (0, 1, 2) for p in (False, True)]
    ways += [("JPEG", "L", {}), ("JPEG", "CMYK", {}), ("JPEG", "RGB", {"restart_marker_rows": 1})]
    ways += [("WEBP", "RGB", notes), ("WEBP", "RGBA", {}), ("WEBP", "RGBA", {"lossless": True}), ("WEBP", "RGB", film)]
    ways += [("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")]
    ways += [("PPM", mode, {}) for mode in ("1", "L", "RGB", "I", "F")]
    ways += [("TIFF", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F")]
    ways += [("TIFF", "RGB", notes | film), ("TIFF", "1", {"compression": "group4"}), ("TIFF", "1", {"compression": "group3"})]
    if features.check("libtiff"):
        kinds = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_deflate")
        ways += [("TIFF", mode, {"compression": kind}) for kind in kinds for mode in ("L", "RGB")]
    found = [(f"{row.kind}, golden", row.source) for row in golden() if isinstance(row.source, bytes)]
    for number, (kind, mode, options) in enumerate(ways):
        if mode == "LAB":
            converted = Image.frombytes("LAB", (40, 30), noise[:, :, :3].tobytes())
        elif mode == "I;16":
            converted = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
        else:
            converted = (alpha if mode in ("RGBA", "LA") else picture).convert(mode)
        found.append((f"{kind}, {mode}, way {number}", encoded(converted, kind, **options)))
    if features.check("avif"):
        for number, (mode, options) in enumerate([("RGB", notes), ("RGBA", {}), ("L", {}), ("RGB", film)]):
            content = encoded((alpha if mode == "RGBA" else picture).convert(mode), "AVIF", speed=10, **options)
            found.append((f"AVIF, {mode}, way {number}", content))
    tile = {256: ("I", [20]), 257: ("I", [20]), 258: ("H", [8] * 3), 259: ("H", [1]), 262: ("H", [2]), 277: ("H", [3])}
    tile |= {322: ("I", [32]), 323: ("I", [32]), 324: ("I", ["data"]), 325: ("I", [32 * 32 * 3])}
    found.append(("TIFF, RGB, a tile", tiff(tile, noise.tobytes()[:3072])))
    return found


def mutate(content: bytes, rng: random.Random) -> bytes:
    """`content` with one to four changes of its bytes, or of its parts, with sizes and checksums corrected."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        structured = rng.random() < 0.6
        changed = _structured(content, rng) if structured else None
        content = (changed or _plain(content, rng))[:200_000]
    return content


def _number(rng: random.Random, bits: int) -> int:
    number = rng.choice(NUMBERS) if rng.random() < 0.7 else rng.getrandbits(rng.randint(1, bits))
    return (number + rng.choice((0, 0, 0, -1, 1))) % (1 << bits)


def _plain(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    if not changed:
        return content
    # Most of the structure is at the start.
    at = rng.randrange(min(len(changed), 200) if rng.random() < 0.5 else len(changed))
    kind = rng.randrange(8)
    if kind == 0:
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        changed[at] = rng.choice((0, 1, 127, 128, 254, 255, rng.randrange(256)))
    elif kind == 2:
        del changed[at:]
    elif kind == 3:
        del changed[at : at + rng.randint(1, 16)]
    elif kind == 4:
        changed[at:at] = rng.randbytes(rng.randint(1, 16))
    elif kind == 5:
        changed[at:at] = changed[at : at + rng.randint(1, 64)] * rng.randint(1, 8)
    elif kind == 6:
        size = rng.choice((2, 4))
        changed[at : at + size] = _number(rng, 8 * size).to_bytes(size, rng.choice(("big", "little")))
    else:
        other = rng.randrange(len(changed))
        changed[at : at + 8] = changed[other : other + 8]
    return bytes(changed)


def _structured(content: bytes, rng: random.Random) -> bytes | None:
    """One change that keeps the rest of the structure; None if the content has no valid structure."""
    try:
        if content.startswith(b"\x89PNG"):
            return _png(content, rng)
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content, rng)
        if content.startswith(b"RIFF"):
            return _webp(content, rng)
        if content[:2] in (b"II", b"MM"):
            return _tiff(content, rng)
        if content.startswith(b"GIF"):
            return _fields(content, rng, "<", (6, 8), 2)
        if content.startswith(b"BM"):
            return _fields(content, rng, "<", (10, 14, 18, 22, 26, 28, 30, 46, 54, 58, 62, 66), 4)
        if content.startswith(b"P"):
            return _ppm(content, rng)
        if content[4:8] == b"ftyp":
            return _avif(content, rng)
    except (struct.error, IndexError, ValueError, StopIteration):
        pass
    return None


def _in_list(parts: list, rng: random.Random) -> None:
    """Removes, duplicates, moves or repeats a part."""
    at = rng.randrange(len(parts))
    kind = rng.randrange(4)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(rng.randrange(len(parts)), parts[at])
    elif kind == 2:
        other = rng.randrange(len(parts))
        parts[at], parts[other] = parts[other], parts[at]
    else:
        parts[at:at] = [parts[at]] * rng.randint(1, 150)


def _png(content: bytes, rng: random.Random) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = struct.unpack_from(">I", content, at)[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    kind = rng.randrange(4)
    number = 0 if rng.random() < 0.4 else rng.randrange(len(chunks))
    name, data = chunks[number]
    if kind == 0:
        _in_list(chunks, rng)
    elif kind == 1 and name == b"IHDR":
        values = list(struct.unpack(">IIBBBBB", data))
        field = rng.randrange(7)
        values[field] = _number(rng, 32) if field < 2 else rng.choice((0, 1, 2, 3, 4, 6, 8, 16))
        chunks[number] = name, struct.pack(">IIBBBBB", *values)
    elif kind == 2:
        names = (
            b"IDAT",
            b"PLTE",
            b"tRNS",
            b"iCCP",
            b"zTXt",
            b"iTXt",
            b"eXIf",
            b"acTL",
            b"fcTL",
            b"fdAT",
            b"gAMA",
            b"cHRM",
            b"pHYs",
        )
        chunks[number] = rng.choice(names), data
    else:
        chunks[number] = name, _plain(data, rng)
    return content[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def _jpeg(content: bytes, rng: random.Random) -> bytes:
    segments, rest = jpeg_segments(content)
    kind = rng.randrange(5)
    number = rng.randrange(len(segments))
    if kind == 0:
        _in_list(segments, rng)
    elif kind == 1:
        # The frame: precision, height, width, and each component's sampling factors and quantisation table.
        number = next(i for i, (marker, _) in enumerate(segments) if 0xC0 <= marker <= 0xC2)
        marker, data = segments[number]
        if rng.random() < 0.6:
            at = rng.choice((1, 3))
            data = data[:at] + _number(rng, 16).to_bytes(2, "big") + data[at + 2 :]
        else:
            at = rng.randrange(len(data))
            data = data[:at] + bytes([rng.choice((0, 1, 2, 3, 4, 0x11, 0x12, 0x21, 0x22, 0x44, 255))]) + data[at + 1 :]
        segments[number] = rng.choice((marker, marker, 0xC0, 0xC1, 0xC2, 0xC9, 0xCA)), data
    elif kind == 2:
        segments[number] = rng.randrange(0xC0, 0xFF), segments[number][1]
    elif kind == 3 and b"\xff\xda" in rest:
        # Repeats a scan.
        at = rest.index(b"\xff\xda")
        rest = rest[:at] + rest[at:-2] * rng.choice((2, 5, 50)) + rest[-2:]
    else:
        segments[number] = segments[number][0], _plain(segments[number][1], rng)
    return jpeg([(marker, data[:65533]) for marker, data in segments], rest)


def _webp(content: bytes, rng: random.Random) -> bytes:
    chunks = webp_chunks(content)
    kind = rng.randrange(5)
    number = rng.randrange(len(chunks))
    name, data = chunks[number]
    if kind == 0:
        _in_list(chunks, rng)
    elif kind == 1:
        names = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP")
        chunks[number] = rng.choice(names), data
    elif kind == 2:
        changed = bytearray(riff(*chunks))
        at = rng.choice([4, *(12 + i for i in range(0, len(changed) - 16, 2) if changed[12 + i : 16 + i].isalnum())])
        changed[at + 4 : at + 8] = _number(rng, 32).to_bytes(4, "little")
        return bytes(changed)
    elif kind == 3 and name in (b"VP8X", b"VP8 ", b"VP8L"):
        at, size = {b"VP8X": (rng.choice((4, 7)), 3), b"VP8 ": (rng.choice((6, 8)), 2), b"VP8L": (1, 4)}[name]
        chunks[number] = name, data[:at] + _number(rng, 8 * size).to_bytes(size, "little") + data[at + size :]
    else:
        chunks[number] = name, _plain(data, rng)
    return riff(*chunks)


def _tiff(content: bytes, rng: random.Random) -> bytes:
    order = "<" if content.startswith(b"II") else ">"
    place = struct.unpack_from(order + "I", content, 4)[0]
    count = struct.unpack_from(order + "H", content, place)[0]
    changed = bytearray(content)
    at = place + 2 + 12 * rng.randrange(count)
    kind = rng.randrange(6)
    if kind == 0:
        tags = (
            256,
            257,
            258,
            259,
            262,
            266,
            273,
            274,
            277,
            278,
            279,
            284,
            317,
            320,
            322,
            323,
            324,
            325,
            330,
            338,
            339,
            34665,
            700,
        )
        changed[at : at + 2] = struct.pack(order + "H", rng.choice(tags))
    elif kind == 1:
        changed[at + 2 : at + 4] = struct.pack(order + "H", rng.randrange(0, 20))
    elif kind == 2:
        changed[at + 4 : at + 8] = struct.pack(order + "I", _number(rng, 32))
    elif kind in (3, 4):
        tag, code = struct.unpack_from(order + "HH", changed, at)
        known = {259: (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34676, 34925, 50000, 50001), 262: range(9), 284: (1, 2), 266: (1, 2)}
        value = rng.choice(known[tag]) if tag in known else _number(rng, 16 if code == 3 else 32)
        changed[at + 8 : at + 12] = struct.pack(order + ("HH" if code == 3 else "I"), *((value, 0) if code == 3 else (value,)))
    else:
        # The next directory: this one, itself, or anything.
        end = place + 2 + 12 * count
        changed[end : end + 4] = struct.pack(order + "I", rng.choice((place, end, 8, _number(rng, 32))))
    return bytes(changed)


def _fields(content: bytes, rng: random.Random, order: str, places: tuple[int, ...], size: int) -> bytes:
    changed = bytearray(content)
    at = rng.choice(places)
    if content.startswith(b"GIF") and rng.random() < 0.5:
        # The first frame: its position, its size and the start of its codes.
        at = content.index(b",", 13) + 1 + rng.choice((0, 2, 4, 6))
    width = rng.choice((2, size))
    changed[at : at + width] = _number(rng, 8 * width).to_bytes(width, "little")
    return bytes(changed)


def _ppm(content: bytes, rng: random.Random) -> bytes:
    words = content.split(maxsplit=4)
    number = rng.randrange(min(len(words), 4))
    names = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"PF", b"P7", b"PyP", b"PyRGBA", b"PyCMYK", b"P0CMYK")
    words[number] = rng.choice(names) if number == 0 else str(_number(rng, 32)).encode()
    return b" ".join(words[:-1]) + b"\n" + words[-1]


def _avif(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    if rng.random() < 0.4:
        # The sequence header of a part, which has the size of its frames: it follows the unit's two bytes.
        at = changed.find(b"\x0a", changed.index(b"mdat")) + 2
        changed[at + rng.randrange(10)] ^= 1 << rng.randrange(8)
        return bytes(changed)
    boxes = (b"ftyp", b"meta", b"pitm", b"iloc", b"iinf", b"infe", b"ispe", b"av1C", b"ipma", b"iref", b"auxC", b"mdat", b"moov")
    boxes += (b"stco", b"stsz", b"stsc", b"stts", b"trak", b"tkhd", b"stsd", b"irot", b"colr")
    places = [place for name in boxes if (place := changed.find(name)) > 0]
    at = rng.choice(places) + rng.choice((-4, 0, 4, 8, 12, 16, 20, rng.randrange(60)))
    size = rng.choice((1, 2, 4))
    changed[at : at + size] = _number(rng, 8 * size).to_bytes(size, "big")
    return bytes(changed)
