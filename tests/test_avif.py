"""How many pixels the parts of an AVIF file have, by their own headers."""

import struct

import numpy as np
import pytest
from PIL import Image

from minisqx.images import avif
from tests.image_files import encoded


def box(kind, *content):
    inside = b"".join(content)
    return struct.pack(">I", 8 + len(inside)) + kind + inside


def unit(kind, content):
    """One of AV1, with its size in front, in seven bits a byte."""
    size, sizes = len(content), b""
    while size > 127:
        sizes, size = sizes + bytes([size & 127 | 128]), size >> 7
    return bytes([kind << 3 | 2]) + sizes + bytes([size]) + content


def header(width, height, start="000" + "1" + "1" + "00000"):
    """A sequence header; `start` is what is in front of the size: a profile, still, reduced, a level."""
    bits = start + f"{15:04b}{15:04b}{width - 1:016b}{height - 1:016b}" + "0" * 40
    return unit(avif.SEQUENCE_HEADER, int(bits[: len(bits) // 8 * 8], 2).to_bytes(len(bits) // 8, "big"))


def file(*parts, version=0, kinds=None):
    """An AVIF of these parts, which are in `idat` from version 1 on."""
    kinds = kinds or [b"av01"] * len(parts)
    infos = [box(b"infe", struct.pack(">IHH", 2 << 24, number, 0), kind, b"\0") for number, kind in enumerate(kinds)]
    iinf = box(b"iinf", struct.pack(">IH", 0, len(infos)), *infos)
    data = b"".join(parts)

    def build(base):
        at, places = base, []
        for number, part in enumerate(parts):
            method = struct.pack(">H", 1) if version else b""
            places.append(struct.pack(">H", number) + method + struct.pack(">HHII", 0, 1, at, len(part)))
            at += len(part)
        head = struct.pack(">IBBH", version << 24, 0x44, 0, len(parts))
        idat = [box(b"idat", data)] if version else []
        return box(b"ftyp", b"avif", bytes(4), b"mif1avif") + box(b"meta", bytes(4), iinf, box(b"iloc", head, *places), *idat)

    if version:
        return build(0)
    return build(len(build(0)) + 8) + box(b"mdat", data)


def test_files_of_pillow_have_the_pixels_of_their_pictures():
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    picture = Image.fromarray(noise)
    for mode, options, expected in [
        ("L", {}, 1200),
        ("RGB", {}, 1200),
        ("RGBA", {}, 2400),
        ("RGBA", {"save_all": True, "append_images": [picture.rotate(180)]}, 2400),
    ]:
        assert avif.pixels(encoded(picture.convert(mode), "AVIF", speed=10, **options)) == expected


@pytest.mark.parametrize("version", [0, 1])
def test_the_pixels_of_all_coded_parts_are_added(version):
    parts = header(4000, 3000), unit(2, b"") + header(10, 20), header(60_000, 50_000)
    assert avif.pixels(file(*parts, version=version, kinds=[b"av01", b"av01", b"Exif"])) == 12_000_000 + 200


def test_the_largest_header_of_a_part_counts_wherever_it_stands():
    part = header(8, 8) + unit(avif.FRAME, bytes(300)) + header(4000, 3000) + header(9, 9)
    assert avif.pixels(file(part)) == 12_000_000


@pytest.mark.parametrize(
    "start",
    [
        "000" + "0" + "0" + "0" + "0" + "00000" + "0" * 12 + "00000",
        # Two operating points, the first of a level with a tier.
        "000" + "0" + "0" + "0" + "0" + "00001" + ("0" * 12 + "01000" + "1") + ("0" * 12 + "00111"),
        # Timing with equal pictures, a model of the decoder, and what both say of the one operating point.
        "000" + "0" + "0" + "1" + "1" * 64 + "1" + "00101" + "1" + "00011" + "0" * 42 + "1" + "00000" + "0" * 12 + "00000"
        "1" + "10101010" + "0" + "1" + "0110",
    ],
)  # fmt: skip
def test_a_sequence_header_of_any_kind_is_understood(start):
    assert avif.pixels(file(header(4000, 3000, start))) == 12_000_000


def test_more_frames_or_parts_than_a_picture_needs_are_too_much():
    frames = unit(avif.FRAME, b"") * 9
    with pytest.raises(avif.TooMuchError, match="more than 8 frames"):
        avif.pixels(file(header(8, 8) + frames))
    assert avif.pixels(file(header(8, 8) + frames[:-2])) == 64
    with pytest.raises(avif.TooMuchError, match="more than 1000 parts"):
        avif.pixels(file(*[header(8, 8)] * 1002))


def test_only_a_container_with_the_brand_is_avif():
    assert avif.is_avif(file(header(8, 8))) and avif.is_avif(box(b"ftyp", b"mif1", bytes(4), b"miafavif"))
    assert not avif.is_avif(box(b"ftyp", b"mif1", bytes(4), b"heic") + b"avif")
    assert not avif.is_avif(b"avif")
