"""Malicious image files, each with its expected outcome. `test_hostile_images.py` tests all of them.

`python -m tests.hostile_images FOLDER` writes them to a folder.
"""

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.image_files import bmp, encoded, jpeg, jpeg_segments, png, png_chunk, riff, tiff, tiff_image, webp_chunks

RED = (255, 0, 0)


class Hostile(NamedTuple):
    """expected: a pattern of the error, or the first pixel of the image if it must be read."""

    name: str
    build: Callable[[], bytes]
    expected: str | tuple[int, int, int]


def _red(kind: str = "PNG", **options) -> bytes:
    return encoded(Image.new("RGB", (8, 8), "red"), kind, **({"lossless": True} if kind == "WEBP" else {}) | options)


def _red_png(before: bytes = b"", after: bytes = b"") -> bytes:
    return png(8, 8, 8, 2, (b"\0" + bytes(RED) * 8) * 8, before=before) + after


def _blank_png(side: int, interlace: int = 0) -> bytes:
    return png(side, side, 1, 0, bytes(side * (side // 8 + 1)), interlace=interlace)


def _text(size: int) -> bytes:
    return png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * size, 9))


def _photo(**options) -> bytes:
    return encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "JPEG", **options)


def _jpeg(change: Callable[[int, bytes], bytes | None], **options) -> bytes:
    """A red JPEG with the data of every segment (marker, data) changed, or removed for None."""
    segments, rest = jpeg_segments(_red("JPEG", quality=100, subsampling=0, **options))
    changed = [(marker, change(marker, data)) for marker, data in segments]
    return jpeg([(marker, data) for marker, data in changed if data is not None], rest)


def _frame(precision: int, height: int, width: int) -> bytes:
    return _jpeg(lambda marker, data: struct.pack(">BHH", precision, height, width) + data[5:] if marker == 0xC0 else data)


def _scans(count: int) -> bytes:
    content = _photo(progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


def _exif(content: bytes) -> bytes:
    return _red("JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + content)


def _gif(width=8, height=8, frame=(0, 0, 8, 8), code_size=2, between=b"") -> bytes:
    """64 red pixels in codes of 3 bits: a clear code (4) before every pixel (0) keeps them at that width; 5 is the end code."""
    bits = sum(code << 3 * place for place, code in enumerate([4, 0] * 64 + [5]))
    data = bytes([49]) + bits.to_bytes(49, "little") + b"\0"
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(RED) + b"\xff" * 3
    return b"GIF89a" + screen + between + b"," + struct.pack("<HHHHB", *frame, 0) + bytes([code_size]) + data + b";"


def _tiff(**tags) -> bytes:
    """A red TIFF with tags by number (`_257=...`): (type, values), or None to remove it."""
    found = {
        256: ("I", [8]),
        257: ("I", [8]),
        258: ("H", [8] * 3),
        259: ("H", [1]),
        262: ("H", [2]),
        273: ("I", ["data"]),
        277: ("H", [3]),
        278: ("I", [8]),
        279: ("I", [192]),
    }
    found |= {int(name[1:]): value for name, value in tags.items()}
    return tiff({tag: value for tag, value in found.items() if value is not None}, bytes(RED) * 64)


def _wide_tiles() -> bytes:
    """2000 tiles of half a million pixels, with only 8 pixels each inside the picture."""
    return _tiff(_257=("I", [2000]), _322=("I", [500_000]), _323=("I", [1]))


def _tiff_loop() -> bytes:
    return tiff({256: ("I", [8]), 257: ("I", [8]), 258: ("H", [8] * 3), 259: ("H", [1]), 262: ("H", [2]), 273: ("I", ["data"]),
                 277: ("H", [3]), 278: ("I", [8]), 279: ("I", [192])}, bytes(RED) * 64, next_directory=8)  # fmt: skip


def _tiff_many_tags() -> bytes:
    """5000 private tags that all refer to the same megabyte."""
    entries = b"".join(struct.pack("<HHII", 32768 + number, 7, 1_000_000, 8) for number in range(5000))
    return b"II*\0" + struct.pack("<IH", 8, 5000) + entries + bytes(1_000_000)


def _jpeg_many_tags() -> bytes:
    """The same as EXIF data, split into segments, without the JFIF density, which would be read first."""
    notes = _tiff_many_tags()
    parts = [(0xE1, b"Exif\0\0" + notes[at : at + 65_000]) for at in range(0, len(notes), 65_000)]
    segments, rest = jpeg_segments(_red("JPEG", quality=100, subsampling=0))
    return jpeg(parts + [(marker, data) for marker, data in segments if marker != 0xE0], rest)


def _big_tiff(place: int) -> bytes:
    return b"II+\0\x08\0\0\0" + struct.pack("<Q", place) + bytes(64)


def _webp_size(width: int, height: int) -> bytes:
    chunks = webp_chunks(_red("WEBP"))
    return riff((b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")), *chunks)


def _pfm(value: float, scale: str = "-1.0") -> bytes:
    return f"Pf 8 8 {scale}\n".encode() + struct.pack("<f", value) * 64


def _blank(kind: str, width: int, height: int) -> bytes:
    if kind == "TIFF":
        return encoded(Image.new("1", (width, height), 1), "TIFF", compression="group4")
    return encoded(Image.new("RGB", (width, height), "red"), kind, speed=10)


def _avif_size(width: int, height: int) -> bytes:
    """Two million pixels, with another size in their box."""
    content = _blank("AVIF", 2000, 1000)
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", width, height) + content[at + 8 :]


def _avif_frames(count: int) -> bytes:
    """A part with repeated frame headers."""
    content = _red("AVIF")
    place = content.index(b"iloc") + 4
    head, (offset, size) = content[: place + 14 + 4], struct.unpack_from(">II", content, place + 14)
    more = b"\x1a\0" * count
    return head[:-4] + struct.pack(">II", offset, size + len(more)) + content[place + 22 :] + more


def _avif_parts(count: int) -> bytes:
    """A box with `count` locations of parts."""
    content = _red("AVIF")
    at = content.index(b"iloc") - 4
    return content[: at + 14] + struct.pack(">H", count) + content[at + 16 :]


def _mpo() -> bytes:
    return encoded(
        Image.new("RGB", (8, 8), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")], quality=100
    )


def _png_header(width: int, height: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def _profile(size: int) -> bytes:
    return png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(size), 9))


def _acTL(frames: int) -> bytes:
    return png_chunk(b"acTL", struct.pack(">II", frames, 0))


def _fcTL(number: int, width: int, height: int) -> bytes:
    return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 1, 0, 0))


def _beyond_palette() -> bytes:
    return png(8, 8, 8, 3, (b"\0" + b"\5" * 8) * 8, before=png_chunk(b"PLTE", bytes(RED)))


def _bmp_colours(count: int) -> bytes:
    content = bmp(8, 8, 8, bytes(64))
    return content[:46] + struct.pack("<I", count) + content[50:]


def _bmp_place(place: int) -> bytes:
    content = bmp(8, 8, 24, bytes(192))
    return content[:10] + struct.pack("<I", place) + content[14:]


def _exif_short(tag: int, value: int) -> bytes:
    return b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHHI", tag, 3, 1, value, 0, 0)


# The tag that says where further EXIF data lies says: here.
_EXIF_LOOP = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 34665, 4, 1, 8) + struct.pack("<I", 8)
NOT = "is not an image"
DAMAGED = "is damaged or incomplete"
KIND = "that isn't read"

HOSTILE = [
    # Sizes.
    Hostile("PNG of 60000 x 60000", lambda: _red_png().replace(struct.pack(">II", 8, 8), b"\0\0\xea\x60" * 2), DAMAGED),
    Hostile("PNG of 60000 x 60000, sum right", lambda: png(60_000, 60_000, 8, 2, bytes(99)), "at most 70000000 pixels"),
    Hostile("PNG of 2^31 x 2^31", lambda: png(2**31, 2**31, 8, 2, bytes(99)), "at most 70000000 pixels"),
    Hostile("PNG, blank, 16 million pixels in 2 kB", lambda: _blank_png(4096), "claims 4096 x 4096 pixels"),
    Hostile("PNG, blank, interlaced, the same", lambda: _blank_png(4096, 1), "claims 4096 x 4096 pixels"),
    Hostile("PNG with a second, larger header", lambda: _red_png(_png_header(50_000, 50_000)), "at most 70000000 pixels"),
    Hostile("PNG without width", lambda: png(0, 8, 8, 2, bytes(9)), DAMAGED),
    Hostile("JPEG of 65535 x 65535", lambda: _frame(8, 65535, 65535), "at most 70000000 pixels"),
    Hostile("JPEG of no height", lambda: _frame(8, 0, 8), DAMAGED),
    Hostile("GIF of 65535 x 65535", lambda: _gif(65535, 65535), "at most 70000000 pixels"),
    Hostile("GIF with a frame far beyond its screen", lambda: _gif(frame=(60000, 60000, 5000, 5000)), "at most 70000000 pixels"),
    Hostile("GIF with a frame without pixels", lambda: _gif(frame=(0, 0, 0, 0)), DAMAGED),
    Hostile("GIF without a screen", lambda: _gif(0, 0, (0, 0, 0, 0)), DAMAGED),
    Hostile("BMP of 2^31 - 1 pixels in a row", lambda: bmp(2**31 - 1, 1, 24, bytes(64)), "at most 70000000 pixels"),
    Hostile("BMP of negative width", lambda: bmp(-8, 8, 24, bytes(192)), "pixels"),
    Hostile("BMP of the least height", lambda: bmp(1, -(2**31), 24, bytes(64)), "pixels"),
    Hostile("BMP, run lengths, 16 million pixels", lambda: bmp(4096, 4096, 8, b"\1\0\0\0\0\1", compression=1), "claims 4096"),
    Hostile("PPM of 99999 x 99999", lambda: b"P6 99999 99999 255\n" + bytes(99), "at most 70000000 pixels"),
    Hostile("PPM of negative size", lambda: b"P6 -8 -8 255\n" + bytes(192), DAMAGED),
    Hostile("TIFF of 2^32 - 1 rows", lambda: _tiff(_257=("I", [2**32 - 1])), "at most 70000000 pixels"),
    Hostile("TIFF with a tile of 2^20 x 2^20", lambda: _tiff(_322=("I", [2**20]), _323=("I", [2**20])), "in tiles"),
    Hostile("TIFF with tiles that reach far out of it", lambda: _wide_tiles(), "in tiles"),
    Hostile("TIFF with a tile of no width", lambda: _tiff(_322=("I", [0]), _323=("I", [16])), "in tiles"),
    Hostile("AVIF of 60000 x 60000", lambda: _avif_size(60_000, 60_000), DAMAGED),
    Hostile("AVIF whose parts are much larger than it says", lambda: _avif_size(8, 8), "has 2000000 pixels in its parts"),
    Hostile("AVIF of 3000 frames in one", lambda: _avif_frames(3000), "has more than 8 frames in a part"),
    Hostile("AVIF with places of 60000 parts", lambda: _avif_parts(60_000), DAMAGED),
    Hostile("AVIF, blank, 6 million pixels in 300 bytes", lambda: _blank("AVIF", 3000, 2000), "claims 3000 x 2000 pixels"),
    Hostile("TIFF, fax, 42 million pixels in 2 kB", lambda: _blank("TIFF", 6000, 7000), "claims 6000 x 7000 pixels"),
    Hostile("WebP of 2^24 x 2^24", lambda: _webp_size(2**24, 2**24), "at most 70000000 pixels"),
    Hostile("WebP of 4000 x 4000 in 100 bytes", lambda: _webp_size(4000, 4000), "claims 4000 x 4000 pixels"),
    # Files that grow when unpacked, or take long to decode.
    Hostile("PNG with 2 MB of text in 2 kB", lambda: _red_png(_text(2_000_000)), RED),
    Hostile("PNG with 1 MB of text 100 times", lambda: _red_png(_text(1_000_000) * 100), RED),
    Hostile("PNG with a colour profile of 5 MB in 5 kB", lambda: _red_png(_profile(5_000_000)), RED),
    Hostile("PNG with 1 MB of a private chunk", lambda: _red_png(png_chunk(b"prVt", bytes(1_000_000))), RED),
    Hostile("PNG with 10000 empty chunks", lambda: _red_png(png_chunk(b"prVt", b"") * 10_000), RED),
    Hostile("JPEG of 1000 scans", lambda: _scans(1000), "scans"),
    Hostile("GIF with 1 MB of remarks", lambda: _gif(between=(b"!\xfe" + (b"\xff" + bytes(255)) * 4000 + b"\0")), RED),
    Hostile("PPM with an endless comment", lambda: b"P6 8 8 #" + b"a" * 100_000, NOT + "|" + DAMAGED),
    Hostile("PPM with a number of 100000 digits", lambda: b"P6 " + b"1" * 100_000, DAMAGED),
    Hostile("TIFF with 5000 tags of 1 MB in 1 MB", lambda: _tiff_many_tags(), DAMAGED),
    Hostile("JPEG with the same as EXIF data", lambda: _jpeg_many_tags(), (254, 0, 0)),
    Hostile("PNG with the same as EXIF data", lambda: _red_png(png_chunk(b"eXIf", _tiff_many_tags())), RED),
    Hostile("TIFF with 2^32 - 1 samples a pixel", lambda: _tiff(_277=("I", [2**32 - 1])), DAMAGED),
    Hostile("BMP with 2^32 - 1 colours", lambda: _bmp_colours(2**32 - 1), DAMAGED),
    # Loops, and offsets outside the file.
    Hostile("TIFF whose directory is its own next", lambda: _tiff_loop(), RED),
    Hostile("TIFF whose directory lies outside", lambda: b"II*\0\xff\xff\xff\x7f" + bytes(64), DAMAGED),
    Hostile("TIFF whose pixels lie outside", lambda: _tiff(_273=("I", [2**31])), DAMAGED),
    Hostile("TIFF with a JPEG outside", lambda: _tiff(_259=("H", [6]), _513=("I", [2**31]), _514=("I", [2**31 - 1])), DAMAGED),
    Hostile("TIFF with a directory inside that is the same", lambda: _tiff(_330=("I", [8]), _34665=("I", [8])), RED),
    Hostile("BigTIFF whose directory lies beyond 2^63", lambda: _big_tiff(2**64 - 1), DAMAGED),
    Hostile("JPEG whose EXIF directory is its own next", lambda: _exif(b"II*\0\x08\0\0\0\0\0\x08\0\0\0"), (254, 0, 0)),
    Hostile("JPEG whose EXIF directory has itself inside", lambda: _exif(_EXIF_LOOP), (254, 0, 0)),
    Hostile("JPEG turned by an unknown number", lambda: _exif(_exif_short(0x0112, 99)), (254, 0, 0)),
    Hostile("WebP that claims to go on for 4 GB", lambda: _red("WEBP")[:4] + b"\xff" * 4 + _red("WEBP")[8:], DAMAGED + "|" + NOT),
    Hostile("BMP whose pixels lie outside", lambda: _bmp_place(2**31 - 1), DAMAGED),
    Hostile("BMP whose header is of 4 GB", lambda: bmp(8, 8, 24, b"")[:14] + b"\xff" * 4 + bytes(240), DAMAGED),
    # Missing or wrong parts.
    Hostile("PNG without pixels", lambda: _red_png()[:33] + png_chunk(b"IEND", b""), DAMAGED),
    Hostile("PNG with a palette that is missing", lambda: png(8, 8, 8, 3, (b"\0" + bytes(8)) * 8), DAMAGED),
    Hostile("PNG with a colour beyond its palette", lambda: _beyond_palette(), (0, 0, 0)),
    Hostile("PNG with a wrong sum", lambda: _red_png().replace(b"IHDR\0\0\0\x08", b"IHDR\0\0\0\x09"), DAMAGED),
    Hostile("PNG with a depth of 3", lambda: png(8, 8, 3, 2, bytes(200)), DAMAGED),
    Hostile("PNG with a frame outside", lambda: _red_png(_acTL(2) + _fcTL(0, 100, 100)), DAMAGED),
    Hostile("PNG of 2^31 frames", lambda: _red_png(_acTL(2**31) + _fcTL(0, 8, 8)), RED),
    Hostile("JPEG without tables", lambda: _jpeg(lambda marker, data: None if marker in (0xC4, 0xDB) else data), DAMAGED),
    Hostile("JPEG without a frame", lambda: _jpeg(lambda marker, data: None if marker == 0xC0 else data), DAMAGED),
    Hostile("JPEG of 12 bits", lambda: _frame(12, 8, 8), KIND),
    Hostile("JPEG that stops", lambda: _photo()[:-200], DAMAGED),
    Hostile("GIF without a frame", lambda: _gif()[:19] + b";", DAMAGED),
    Hostile("GIF with codes of 13 bits", lambda: _gif(code_size=13), DAMAGED),
    Hostile("TIFF of an unknown compression", lambda: _tiff(_259=("H", [12345])), KIND),
    Hostile("TIFF of broken deflate", lambda: _tiff(_259=("H", [8])), DAMAGED),
    Hostile("WebP without a frame", lambda: riff((b"VP8X", bytes(10))), DAMAGED + "|" + NOT),
    Hostile("PPM that goes up to 0", lambda: b"P6 8 8 0\n" + bytes(192), DAMAGED),
    Hostile("PPM with a pixel over its most", lambda: b"P3 8 8 255\n" + b"256 0 0 " * 64, DAMAGED),
    Hostile("PFM of NaN", lambda: _pfm(float("nan")), "not finite numbers"),
    Hostile("PFM of infinity", lambda: _pfm(float("inf")), "not finite numbers"),
    Hostile("PFM with a scale of NaN", lambda: _pfm(0.5, "nan"), DAMAGED),
    Hostile("TIFF of NaN", lambda: tiff_image(8, 8, 1, (32,), b"\0\0\xc0\x7f" * 64, sample_format=[3]), "not finite numbers"),
    # Two files in one, and other file formats under an image's name.
    Hostile("PNG that is a ZIP archive, too", lambda: _red_png(after=b"PK\3\4" + bytes(30) + b"PK\5\6" + bytes(18)), RED),
    Hostile("GIF that is a script, too", lambda: _gif() + b"<script>alert(1)</script>", RED),
    Hostile("JPEG of two pictures", lambda: _mpo(), (254, 0, 0)),
    Hostile("PDF with a PNG inside", lambda: b"%PDF-1.7\n" + _red_png(), NOT),
    Hostile("EPS", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) (r) file\n", NOT),
    Hostile("SVG", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', NOT),
    Hostile("ICO with a PNG inside", lambda: encoded(Image.new("RGB", (32, 32), "red"), "ICO"), NOT),
    Hostile("PSD", lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(300), NOT),
    Hostile("JPEG 2000", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), NOT),
    Hostile("HDF5", lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), NOT),
    Hostile("a program", lambda: b"\x7fELF" + bytes(100), NOT),
    Hostile("a pickle", lambda: b"\x80\x04cos\nsystem\n(S'true'\ntR.", NOT),
    *(
        Hostile(f"nothing but the start of a {kind}", lambda start=start: start, NOT + "|" + DAMAGED)
        for kind, start in {
            "PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "GIF": b"GIF89a", "BMP": b"BM", "PPM": b"P6",
            "TIFF": b"II*\0", "WebP": b"RIFF\0\0\0\0WEBPVP8 ",
        }.items()
    ),
]  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(HOSTILE):
        (folder / f"{number:02d}").write_bytes(one.build())
        print(f"{number:02d}  {one.name}: {one.expected}")


if __name__ == "__main__":
    main()
