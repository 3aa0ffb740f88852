"""One pixel of every image format: how it is stored, and as which colour it is read. docs/reliability.md has the same table.

`python -m tests.golden_pixels` prints it.
"""

import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.image_files import bmp, encoded, jpeg, jpeg_segments, png, png_chunk, tiff_image

SIDE = 16


class Golden(NamedTuple):
    """source: a file, a PIL image or an array whose pixels are all `stored`. tolerance: for formats that round."""

    kind: str
    stored: str
    source: object
    pixel: tuple[int, int, int]
    tolerance: int = 0


def _png(depth, colour, pixel: bytes, before=b"", pixels_per_byte=1):
    return png(SIDE, SIDE, depth, colour, (b"\0" + pixel * (SIDE // pixels_per_byte)) * SIDE, before=before)


def _tiff(photometric, bits, pixel: bytes, order="<", pixels_per_byte=1, **more):
    return tiff_image(SIDE, SIDE, photometric, bits, pixel * (SIDE * SIDE // pixels_per_byte), order, **more)


def _bmp(bits, pixel: bytes, pixels_per_byte=1, **more):
    return bmp(SIDE, SIDE, bits, pixel * (SIDE * SIDE // pixels_per_byte), **more)


def _ppm(head: str, pixel: bytes, count=SIDE * SIDE):
    return head.replace("SIZE", f"{SIDE} {SIDE}").encode() + pixel * count


def _picture(mode: str, pixel) -> Image.Image:
    return Image.new(mode, (SIDE, SIDE), pixel)


def _raw(mode: str, pixel: bytes) -> Image.Image:
    return Image.frombytes(mode, (SIDE, SIDE), pixel * SIDE**2)


def _array(dtype, *values) -> np.ndarray:
    return np.full((SIDE, SIDE, len(values)), values, dtype)


def _palette(mode: str = "P", **info) -> Image.Image:
    picture = Image.new(mode, (SIDE, SIDE), 1 if mode == "P" else (1, 51))
    picture.putpalette([9, 9, 9, 200, 100, 0, 7, 7, 7])
    picture.info.update(info)
    return picture


def _film(kind: str, **options) -> bytes:
    frames = [_picture("RGB", colour) for colour in ((255, 0, 0), (0, 0, 255))]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def _cmyk_jpeg(adobe: bool, transform: int = 0) -> bytes:
    """Cyan 200, magenta 100, no yellow, black 50; Pillow writes them inverted, as Adobe does. transform 2: YCCK."""
    inks = (200, 100, 0, 50)
    if transform == 2:
        # Converts the inks as if they were red, green and blue; black is unchanged.
        luma = Image.new("RGB", (1, 1), inks[:3]).convert("YCbCr").getpixel((0, 0))
        inks = (*(255 - value for value in luma), 50)
    segments, rest = jpeg_segments(encoded(_picture("CMYK", inks), "JPEG", quality=100, subsampling=0))
    kept = []
    for marker, data in segments:
        if marker == 0xEE:
            if not adobe:
                continue
            data = data[:11] + bytes([transform])
        kept.append((marker, data))
    return jpeg(kept, rest)


def golden() -> list[Golden]:
    clear = b"\0\x64" * 3
    plte = png_chunk(b"PLTE", bytes([9, 9, 9, 200, 100, 0]))
    quad = bytes([9, 9, 9, 0, 0, 100, 200, 0])  # blue, green, red
    color_map = [v * 257 for plane in ((9, 200), (9, 100), (9, 0)) for v in plane + (0,) * 254]
    mask_565, mask_argb = (0xF800, 0x7E0, 0x1F), (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    lossless = {"lossless": True}
    return [
        Golden("PNG, grey 1 bit", "1", _png(1, 0, b"\xff", pixels_per_byte=8), (255, 255, 255)),
        Golden("PNG, grey 2 bits", "2 of 3", _png(2, 0, b"\xaa", pixels_per_byte=4), (170, 170, 170)),
        Golden("PNG, grey 4 bits", "10 of 15", _png(4, 0, b"\xaa", pixels_per_byte=2), (170, 170, 170)),
        Golden("PNG, grey", "100", _png(8, 0, b"d"), (100, 100, 100)),
        Golden("PNG, grey 16 bits", "32768", _png(16, 0, b"\x80\0"), (128, 128, 128)),
        Golden("PNG, grey 16 bits, transparent 25700", "25700", _png(16, 0, b"dd", png_chunk(b"tRNS", b"dd")), (255, 255, 255)),
        Golden("PNG, grey and alpha", "100, 51", _png(8, 4, b"d3"), (224, 224, 224)),
        Golden("PNG, grey and alpha 16 bits", "25700, 13107", _png(16, 4, b"dd33"), (224, 224, 224)),
        Golden("PNG, colour", "200, 100, 0", _png(8, 2, b"\xc8d\0"), (200, 100, 0)),
        Golden(
            "PNG, colour, transparent 100, 100, 100", "100, 100, 100", _png(8, 2, b"ddd", png_chunk(b"tRNS", clear)), (255,) * 3
        ),
        Golden("PNG, colour 16 bits", "51455, 25700, 255", _png(16, 2, b"\xc8\xffdd\0\xff"), (200, 100, 0)),
        Golden("PNG, colour and alpha", "200, 100, 0, 51", _png(8, 6, b"\xc8d\0\x33"), (244, 224, 204)),
        Golden(
            "PNG, colour and alpha 16 bits", "51400, 25700, 0, 13107", _png(16, 6, b"\xc8\xc8dd\0\0\x33\x33"), (244, 224, 204)
        ),
        Golden("PNG, palette", "200, 100, 0", _png(8, 3, b"\1", plte), (200, 100, 0)),
        Golden("PNG, palette 1 bit", "200, 100, 0", _png(1, 3, b"\xff", plte, 8), (200, 100, 0)),
        Golden(
            "PNG, palette with alpha",
            "200, 100, 0, 51",
            _png(8, 3, b"\1", plte + png_chunk(b"tRNS", b"\xff\x33")),
            (244, 224, 204),
        ),
        Golden("PNG, animated", "red, then blue", _film("PNG"), (255, 0, 0)),
        Golden("JPEG, grey", "100", encoded(_picture("L", 100), "JPEG", quality=100), (100, 100, 100), 1),
        Golden("JPEG, colour", "200, 100, 0", encoded(_picture("RGB", (200, 100, 0)), "JPEG", quality=100), (200, 100, 0), 2),
        Golden(
            "JPEG, CMYK as Adobe inverts it", "cyan 200, magenta 100, yellow 0, black 50", _cmyk_jpeg(True), (44, 125, 205), 2
        ),
        Golden("JPEG, CMYK without Adobe's mark", "the same, taken as inverted", _cmyk_jpeg(False), (44, 125, 205), 2),
        Golden("JPEG, YCCK", "the same as luma and chroma", _cmyk_jpeg(True, 2), (44, 125, 205), 3),
        Golden("BMP, palette 1 bit", "200, 100, 0", _bmp(1, b"\xff\xff\0\0", 8, palette=quad)[: 14 + 40 + 8 + 64], (200, 100, 0)),
        Golden("BMP, palette 4 bits", "200, 100, 0", _bmp(4, b"\x11", 2, palette=quad), (200, 100, 0)),
        Golden("BMP, palette", "200, 100, 0", _bmp(8, b"\1", palette=quad), (200, 100, 0)),
        Golden(
            "BMP, palette, run lengths",
            "200, 100, 0",
            bmp(SIDE, SIDE, 8, b"\x10\1\0\0" * SIDE + b"\0\1", palette=quad, compression=1),
            (200, 100, 0),
        ),
        Golden("BMP, 5 bits a colour", "24, 12, 0 of 31", _bmp(16, struct.pack("<H", 24 << 10 | 12 << 5)), (197, 98, 0)),
        Golden(
            "BMP, 5, 6 and 5 bits",
            "24 of 31, 25 of 63, 0",
            _bmp(16, struct.pack("<H", 24 << 11 | 25 << 5), compression=3, masks=mask_565),
            (197, 101, 0),
        ),
        Golden("BMP, colour", "200, 100, 0", _bmp(24, b"\0d\xc8"), (200, 100, 0)),
        Golden("BMP, 32 bits", "200, 100, 0, 51; the last is no alpha", _bmp(32, b"\0d\xc8\x33"), (200, 100, 0)),
        Golden(
            "BMP, 32 bits with a mask for alpha",
            "200, 100, 0, 51",
            _bmp(32, b"\0d\xc8\x33", compression=3, masks=mask_argb),
            (244, 224, 204),
        ),
        Golden("WebP", "200, 100, 0", encoded(_picture("RGB", (200, 100, 0)), "WEBP", quality=100), (200, 100, 0), 3),
        Golden("WebP, lossless", "200, 100, 0", encoded(_picture("RGB", (200, 100, 0)), "WEBP", **lossless), (200, 100, 0)),
        Golden(
            "WebP, lossless with alpha",
            "200, 100, 0, 51",
            encoded(_picture("RGBA", (200, 100, 0, 51)), "WEBP", **lossless),
            (244, 224, 204),
        ),
        Golden("WebP, animated", "red, then blue", _film("WEBP", **lossless), (255, 0, 0)),
        Golden("AVIF", "200, 100, 0", encoded(_picture("RGB", (200, 100, 0)), "AVIF", quality=100), (200, 100, 0), 3),
        Golden("AVIF, grey", "100", encoded(_picture("L", 100), "AVIF", quality=100), (100, 100, 100), 2),
        Golden(
            "AVIF with alpha",
            "200, 100, 0, 51",
            encoded(_picture("RGBA", (200, 100, 0, 51)), "AVIF", quality=100),
            (244, 224, 204),
            2,
        ),
        Golden("AVIF, animated", "red, then blue", _film("AVIF", quality=100), (255, 0, 0), 3),
        Golden("GIF", "200, 100, 0", encoded(_palette(), "GIF"), (200, 100, 0)),
        Golden("GIF, transparent", "200, 100, 0", encoded(_palette(), "GIF", transparency=1), (255, 255, 255)),
        Golden("GIF, animated", "red, then blue", _film("GIF"), (255, 0, 0)),
        Golden("PBM, text", "1, which is black", _ppm("P1 SIZE\n", b"1 "), (0, 0, 0)),
        Golden("PBM", "1, which is black", _ppm("P4 SIZE\n", b"\xff", SIDE * SIDE // 8), (0, 0, 0)),
        Golden("PGM, text", "10 of 15", _ppm("P2 SIZE 15\n", b"10 "), (170, 170, 170)),
        Golden("PGM", "100", _ppm("P5 SIZE 255\n", b"d"), (100, 100, 100)),
        Golden("PGM, 16 bits", "32768", _ppm("P5 SIZE 65535\n", b"\x80\0"), (128, 128, 128)),
        Golden("PPM, text", "200, 100, 0", _ppm("P3 SIZE 255\n", b"200 100 0\n"), (200, 100, 0)),
        Golden("PPM", "200, 100, 0", _ppm("P6 SIZE 255\n", b"\xc8d\0"), (200, 100, 0)),
        Golden("PPM, 4 bits", "10, 5, 0 of 15", _ppm("P6 SIZE 15\n", b"\x0a\5\0"), (170, 85, 0)),
        Golden("PPM, 16 bits", "51400, 25700, 255", _ppm("P6 SIZE 65535\n", b"\xc8\xc8dd\0\xff"), (200, 100, 1)),
        Golden("PFM, fractions", "0.5", _ppm("Pf SIZE -1.0\n", struct.pack("<f", 0.5)), (128, 128, 128)),
        Golden("TIFF, grey 1 bit", "1", _tiff(1, (1,), b"\xff", pixels_per_byte=8), (255, 255, 255)),
        Golden("TIFF, grey 1 bit, 0 is white", "1", _tiff(0, (1,), b"\xff", pixels_per_byte=8), (0, 0, 0)),
        Golden("TIFF, grey 4 bits", "10 of 15", _tiff(1, (4,), b"\xaa", pixels_per_byte=2), (170, 170, 170)),
        Golden("TIFF, grey", "100", _tiff(1, (8,), b"d"), (100, 100, 100)),
        Golden("TIFF, grey, 0 is white", "100", _tiff(0, (8,), b"d"), (155, 155, 155)),
        Golden("TIFF, grey 12 bits", "2056 of 4095", _tiff(1, (12,), b"\x80\x88\x08", pixels_per_byte=2), (128, 128, 128)),
        Golden("TIFF, grey 16 bits", "32768", _tiff(1, (16,), b"\0\x80"), (128, 128, 128)),
        Golden("TIFF, grey 16 bits, big-endian", "32768", _tiff(1, (16,), b"\x80\0", ">"), (128, 128, 128)),
        Golden("TIFF, grey 16 bits, 0 is white", "25700", _tiff(0, (16,), b"dd"), (155, 155, 155)),
        Golden("TIFF, grey 16 bits with sign", "-5", _tiff(1, (16,), b"\xfb\xff", sample_format=[2]), (0, 0, 0)),
        Golden("TIFF, grey 32 bits", "32768; 65535 is white", _tiff(1, (32,), b"\0\x80\0\0"), (128, 128, 128)),
        Golden("TIFF, fractions", "0.5", _tiff(1, (32,), struct.pack("<f", 0.5), sample_format=[3]), (128, 128, 128)),
        Golden("TIFF, fractions over 1", "99.6", _tiff(1, (32,), struct.pack("<f", 99.6), sample_format=[3]), (100, 100, 100)),
        Golden("TIFF, grey and alpha", "100, 51", _tiff(1, (8, 8), b"d3", extra_samples=[2]), (224, 224, 224)),
        Golden("TIFF, grey and alpha, multiplied", "20, 51", _tiff(1, (8, 8), b"\x14\x33", extra_samples=[1]), (224, 224, 224)),
        Golden("TIFF, palette", "200, 100, 0", _tiff(3, (8,), b"\1", color_map=color_map), (200, 100, 0)),
        Golden(
            "TIFF, palette and alpha",
            "200, 100, 0, 51",
            _tiff(3, (8, 8), b"\1\x33", color_map=color_map, extra_samples=[2]),
            (244, 224, 204),
        ),
        Golden("TIFF, colour", "200, 100, 0", _tiff(2, (8, 8, 8), b"\xc8d\0"), (200, 100, 0)),
        Golden("TIFF, colour 16 bits", "51455, 25700, 255", _tiff(2, (16,) * 3, b"\xff\xc8dd\xff\0"), (200, 100, 0)),
        Golden(
            "TIFF, colour 16 bits, big-endian", "51455, 25700, 255", _tiff(2, (16,) * 3, b"\xc8\xffdd\0\xff", ">"), (200, 100, 0)
        ),
        Golden(
            "TIFF, colour and alpha", "200, 100, 0, 51", _tiff(2, (8,) * 4, b"\xc8d\0\x33", extra_samples=[2]), (244, 224, 204)
        ),
        Golden(
            "TIFF, colour and alpha, multiplied",
            "40, 20, 0, 51",
            _tiff(2, (8,) * 4, b"\x28\x14\0\x33", extra_samples=[1]),
            (244, 224, 204),
        ),
        Golden(
            "TIFF, colour and something",
            "200, 100, 0, 51; the last is no alpha",
            _tiff(2, (8,) * 4, b"\xc8d\0\x33", extra_samples=[0]),
            (200, 100, 0),
        ),
        Golden("TIFF, CMYK", "cyan 200, magenta 100, yellow 0, black 50", _tiff(5, (8,) * 4, b"\xc8d\0\x32"), (44, 125, 205)),
        Golden("TIFF, YCbCr", "76, 85, 255, which is red", _tiff(6, (8,) * 3, b"\x4c\x55\xff"), (254, 0, 0)),
        Golden("TIFF, LAB", "L 100 %, a 0, b 0", _tiff(8, (8,) * 3, b"\xff\0\0"), (255, 255, 255), 1),
        Golden("PIL image, 1", "1", _picture("1", 1), (255, 255, 255)),
        Golden("PIL image, L", "100", _picture("L", 100), (100, 100, 100)),
        Golden("PIL image, LA", "100, 51", _picture("LA", (100, 51)), (224, 224, 224)),
        Golden("PIL image, La", "20, 51", _raw("La", b"\x14\x33"), (224, 224, 224)),
        Golden("PIL image, P", "200, 100, 0", _palette(), (200, 100, 0)),
        Golden("PIL image, PA", "200, 100, 0, 51", _palette("PA"), (244, 224, 204)),
        Golden("PIL image, RGB", "200, 100, 0", _picture("RGB", (200, 100, 0)), (200, 100, 0)),
        Golden("PIL image, RGBA", "200, 100, 0, 51", _picture("RGBA", (200, 100, 0, 51)), (244, 224, 204)),
        Golden("PIL image, RGBa", "40, 20, 0, 51", _raw("RGBa", b"\x28\x14\0\x33"), (244, 224, 204)),
        Golden("PIL image, RGBX", "200, 100, 0, 51", _picture("RGBX", (200, 100, 0, 51)), (200, 100, 0)),
        Golden(
            "PIL image, CMYK", "cyan 200, magenta 100, yellow 0, black 50", _picture("CMYK", (200, 100, 0, 50)), (44, 125, 205)
        ),
        Golden("PIL image, YCbCr", "76, 85, 255, which is red", _picture("YCbCr", (76, 85, 255)), (254, 0, 0)),
        Golden("PIL image, HSV", "0, 255, 200, which is red", _picture("HSV", (0, 255, 200)), (200, 0, 0)),
        Golden("PIL image, LAB", "L 100 %, a 0, b 0", _raw("LAB", b"\xff\0\0"), (255, 255, 255), 1),
        Golden("PIL image, I", "32768", _picture("I", 32768), (128, 128, 128)),
        Golden("PIL image, I;16", "32768", _raw("I;16", b"\0\x80"), (128, 128, 128)),
        Golden("PIL image, I;16L", "32768", _raw("I;16L", b"\0\x80"), (128, 128, 128)),
        Golden("PIL image, I;16B", "32768", _raw("I;16B", b"\x80\0"), (128, 128, 128)),
        Golden("PIL image, F", "0.5", _picture("F", 0.5), (128, 128, 128)),
        Golden("PIL image, F over 1", "99.6", _picture("F", 99.6), (100, 100, 100)),
        Golden("array, uint8 grey", "100", _array(np.uint8, 100), (100, 100, 100)),
        Golden("array, uint8", "200, 100, 0", _array(np.uint8, 200, 100, 0), (200, 100, 0)),
        Golden("array, uint8 with alpha", "200, 100, 0, 51", _array(np.uint8, 200, 100, 0, 51), (244, 224, 204)),
        Golden("array, uint16", "51400, 25700, 129", _array(np.uint16, 51400, 25700, 129), (200, 100, 1)),
        Golden("array, bool", "True, False, True", _array(bool, True, False, True), (255, 0, 255)),
        Golden("array, float32", "0.5, 1, 0", _array(np.float32, 0.5, 1, 0), (128, 255, 0)),
        Golden("array, float64 with alpha", "0, 0, 0, 0.2", _array(np.float64, 0, 0, 0, 0.2), (204, 204, 204)),
    ]


def table() -> list[str]:
    """The lines of the table in docs/reliability.md."""
    lines = ["| image | its pixel | is read as |", "|---|---|---|"]
    for row in golden():
        rounding = f" ± {row.tolerance}" if row.tolerance else ""
        lines.append(f"| {row.kind} | {row.stored} | {', '.join(map(str, row.pixel))}{rounding} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
