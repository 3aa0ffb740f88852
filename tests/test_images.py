"""Images: whatever a person may hand over becomes uint8 (H, W, 3), or one line that says why not."""

import io
import os
import signal
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from minisqx.errors import ImageError
from minisqx.images.load import fit, load_image
from tests.image_files import bmp, encoded, png, png_chunk, tiff_image

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM", "TIFF", "AVIF")


def picture(height=6, width=9, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_refused(source, *words):
    with pytest.raises(ImageError) as caught:
        load_image(source)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_is_told_from_the_content_whatever_the_name(tmp_path, kind):
    path = tmp_path / "photo.dat"
    path.write_bytes(encoded(Image.fromarray(picture()), kind, **({"lossless": True} if kind == "WEBP" else {})))
    for source in (path, str(path), Image.open(path)):
        image = load_image(source)
        assert image.shape == (6, 9, 3) and image.dtype == np.uint8
        if kind not in ("JPEG", "GIF", "AVIF"):
            np.testing.assert_array_equal(image, picture())


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_refused(tmp_path, kind):
    whole = encoded(Image.fromarray(picture(64, 64)), kind)
    for part in (0.02, 0.5, 0.9):
        (tmp_path / "cut").write_bytes(whole[: int(len(whole) * part)])
        assert_refused(tmp_path / "cut", str(tmp_path / "cut"))


def test_what_is_no_image_file_is_refused_by_name(tmp_path):
    assert_refused(tmp_path / "missing.png", "there is no file", "missing.png")
    assert_refused(tmp_path, "is not a file")
    assert_refused(str(tmp_path / "zero\0byte.png"), "can't be read")
    (tmp_path / "empty.png").touch()
    assert_refused(tmp_path / "empty.png", "is an empty file")
    (tmp_path / "text.png").write_text("not a picture\n" * 100)
    assert_refused(tmp_path / "text.png", "is not an image")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert_refused(tmp_path / "pipe.png", "is not a file")


def test_a_format_beyond_the_list_is_refused(tmp_path):
    (tmp_path / "page.png").write_bytes(encoded(Image.fromarray(picture()), "PDF"))
    assert_refused(tmp_path / "page.png", "is not an image")
    (tmp_path / "icon.png").write_bytes(encoded(Image.fromarray(picture(32, 32)), "ICO"))
    assert_refused(tmp_path / "icon.png", "is not an image")


def png_that_claims(width, height, more=0):
    """`more`: bytes after the end, so that the file is large enough for its size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
        + bytes(more)
    )


@pytest.mark.parametrize("size", [(10_001, 7_000), (12_000, 12_000), (60_000, 60_000)])
def test_a_far_too_large_image_is_refused_before_decoding_without_a_warning(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(png_that_claims(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_refused(tmp_path / "bomb.png", "bomb.png", "at most 70000000 pixels")


def test_a_large_image_within_the_limit_causes_no_warning(tmp_path):
    (tmp_path / "large.png").write_bytes(png_that_claims(9_900, 7_000, more=70_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_refused(tmp_path / "large.png", "incomplete")


def test_a_small_file_may_not_claim_a_large_picture(tmp_path):
    (tmp_path / "small.png").write_bytes(png_that_claims(4_000, 4_000))
    assert_refused(tmp_path / "small.png", "claims 4000 x 4000 pixels in", "a byte for 1000 pixels")
    (tmp_path / "small.png").write_bytes(png_that_claims(4_000, 2_000))
    assert_refused(tmp_path / "small.png", "incomplete")


def test_a_file_with_more_bytes_than_any_image_needs_is_refused(tmp_path):
    with open(tmp_path / "vast.png", "wb") as file:
        file.write(encoded(Image.fromarray(picture()), "PNG"))
        file.truncate(560_000_001)
    assert_refused(tmp_path / "vast.png", "has 560000001 bytes; expected at most 560000000 bytes")


@pytest.mark.parametrize("lossless, animated", [(True, False), (False, False), (True, True)])
def test_a_webp_that_claims_too_much_is_refused_before_pillow_sees_it(tmp_path, monkeypatch, lossless, animated):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    options = {"save_all": True, "append_images": frames[1:]} if animated else {}
    content = bytearray(encoded(frames[0], "WEBP", lossless=lossless, **options))
    # Width and height less one in 24 bits each; 14 bits each, packed; or 14 of 16 bits each.
    at, size = {b"VP8X": (24, b"\xff\x3f\0" * 2), b"VP8L": (21, b"\xff" * 4), b"VP8 ": (26, b"\xff" * 4)}[bytes(content[12:16])]
    content[at : at + len(size)] = size
    (tmp_path / "bomb.webp").write_bytes(content)
    monkeypatch.setattr(Image, "open", lambda *args, **options: pytest.fail("opened"))
    assert_refused(tmp_path / "bomb.webp", "163", "at most 70000000 pixels")


def test_the_programs_wish_to_load_truncated_images_is_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for kind in FORMATS:
        whole = encoded(Image.fromarray(picture(64, 64)), kind)
        (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
        assert_refused(tmp_path / "cut", "cut")
        assert_refused(Image.open(io.BytesIO(encoded(Image.fromarray(picture(64, 64)), "PNG")[:900])), "incomplete")
    assert ImageFile.LOAD_TRUNCATED_IMAGES
    with Image.open(io.BytesIO(encoded(Image.fromarray(picture(64, 64)), "JPEG")[:-300])) as cut:
        cut.load()


def test_an_image_that_fits_into_no_memory_is_said_to_be_that(tmp_path, monkeypatch):
    def no_memory(*arguments):
        raise MemoryError

    (tmp_path / "photo.png").write_bytes(encoded(Image.fromarray(picture()), "PNG"))
    monkeypatch.setattr(Image.core, "new", no_memory)
    assert_refused(tmp_path / "photo.png", "there is not enough memory for", "photo.png")


def test_a_jpeg_of_many_scans_is_refused(tmp_path):
    content = encoded(Image.fromarray(picture(64, 64)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    scan = content[last:-2]
    (tmp_path / "photo").write_bytes(content[:-2] + scan * 20 + content[-2:])
    assert load_image(tmp_path / "photo").shape == (64, 64, 3)
    comment = b"\xff\xfe\0\4\xff\xd9"  # which holds what would be the end elsewhere
    (tmp_path / "photo").write_bytes(content[:-2] + comment + scan * 50 + content[-2:])
    assert_refused(tmp_path / "photo", "more than 50 scans")


def noise(size):
    return np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()


def test_notes_of_a_png_that_are_large_do_not_hide_the_picture():
    """A colour profile of 1.6 MB, as printers have them; long texts, compressed or not, in any number."""
    profile = png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(noise(1_600_000), 1))
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(noise(1_100_000), 1))
    texts = b"".join(png_chunk(b"tEXt", f"text {number}".encode() + b"\0" + bytes(1_000_000)) for number in range(20))
    long = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(noise(1_100_000), 1))
    for before in (profile, text, texts, long):
        content = png(2, 1, 8, 2, b"\0" + bytes([1, 2, 3, 4, 5, 6]), before=before)
        assert load_image(content).tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_the_orientation_in_a_text_of_a_png_is_kept_beside_long_texts():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    raw = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n      38\n" + exif.hex().encode())
    long = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2_000_000)))
    assert load_image(png(2, 1, 8, 2, bytes(7), before=long + png_chunk(b"zTXt", raw))).shape == (2, 1, 3)


def test_a_fax_page_of_few_bytes_is_read():
    page = Image.new("1", (3600, 4200), 1)
    page.paste(0, (100, 100, 3000, 140))
    content = encoded(page, "TIFF", compression="group4")
    assert len(content) < 3600 * 4200 / 4000
    image = load_image(content)
    assert image.shape == (4200, 3600, 3) and image[120, 200].tolist() == [0] * 3 and image[0, 0].tolist() == [255] * 3


def heif():
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def apples_png():
    """As iPhones have them: another first chunk, and pixels without the head and the sum of zlib."""
    start, pixels = png(1, 1, 8, 2, bytes(4))[8:33], png_chunk(b"IDAT", zlib.compress(bytes(4))[2:-4])
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"CgBI", bytes(4)) + start + pixels + png_chunk(b"IEND", b"")


def jpeg_with_frame(marker, precision=8):
    content = encoded(Image.fromarray(picture(16, 16)), "JPEG")
    at = content.index(b"\xff\xc0")
    return content[: at + 1] + bytes([marker]) + content[at + 2 : at + 4] + bytes([precision]) + content[at + 5 :]


@pytest.mark.parametrize(
    "content, words",
    [
        (bmp(4, 4, 16, bytes(32), compression=3, masks=(0xF00, 0xF0, 0xF)), "is a BMP variant that isn't read (Unsupported"),
        (bmp(4, 4, 24, bytes(48), compression=4), "is a BMP variant that isn't read (Unsupported BMP compression (4))"),
        (bmp(4, 4, 24, bytes(48), compression=77), "is damaged or incomplete (Unsupported BMP compression (77))"),
        (bmp(4, 4, 64, bytes(128)), "is a BMP variant that isn't read (Unsupported BMP pixel depth (64))"),
        (bmp(4, 4, 13, bytes(128)), "is damaged or incomplete (Unsupported BMP pixel depth (13))"),
        (
            tiff_image(4, 4, 2, (12,) * 3, bytes(72)),
            "a TIFF variant that isn't read (bits 12; sample format 1; photometric 2",
        ),
        (tiff_image(4, 4, 2, (32,) * 3, bytes(192), sample_format=[3] * 3), "isn't read (bits 32; sample format 3;"),
        (tiff_image(4, 4, 1, (16,), bytes(32), sample_format=[3]), "isn't read (bits 16; sample format 3;"),
        (tiff_image(4, 4, 1, (64,), bytes(128), ">", sample_format=[3]), "isn't read (bits 64; sample format 3;"),
        (tiff_image(4, 4, 1, (8,), bytes(16), compression=34661), "photometric 1; compression 34661); save it as PNG"),
        (tiff_image(4, 4, 1, (9_999,), bytes(16)), "is damaged or incomplete"),
        (jpeg_with_frame(0xC1, 12), "is a JPEG variant that isn't read (cannot handle 12-bit layers)"),
        (jpeg_with_frame(0xC0, 99), "is damaged or incomplete (cannot handle 99-bit layers)"),
        (jpeg_with_frame(0xC5), "is a JPEG variant that isn't read (lossless or hierarchical)"),
        (apples_png(), "is a PNG variant that isn't read (Apple's own, CgBI)"),
        (heif(), "is not an image in a format that is read: it is HEIF; expected an image: PNG, "),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "is not an image in a format that is read: it is JPEG 2000;"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_damaged_and_what_is_of_another_kind_are_told_apart(content, words):
    assert_refused(content, words)


def test_images_without_pixels_are_refused(tmp_path):
    (tmp_path / "nothing.png").write_bytes(png_that_claims(0, 5))
    assert_refused(tmp_path / "nothing.png", "nothing.png")
    assert_refused(np.zeros((0, 5, 3), np.uint8), "no pixels (5 x 0)")
    assert_refused(np.zeros((4, 0), np.uint8), "no pixels (0 x 4)")
    assert_refused(Image.new("RGB", (0, 3)), "no pixels (0 x 3)")


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16", "I;16B"],
)
def test_every_mode_of_pillow_is_taken(mode):
    image = load_image(Image.new(mode, (4, 3)))
    assert image.shape == (3, 4, 3) and image.dtype == np.uint8


@pytest.mark.parametrize(
    "mode, tolerance", [("RGB", 0), ("RGBA", 0), ("RGBX", 0), ("CMYK", 0), ("YCbCr", 2), ("HSV", 6), ("LAB", 8)]
)
def test_a_mode_with_colours_keeps_them(mode, tolerance):
    colours = np.array([[[200, 30, 60], [20, 180, 90], [60, 50, 190], [128, 128, 128]]], np.uint8)
    source = Image.fromarray(colours)
    if mode == "LAB":
        ImageCms = pytest.importorskip("PIL.ImageCms")
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        source = ImageCms.profileToProfile(source, *profiles, outputMode="LAB")
    image = load_image(source.convert(mode))
    assert np.abs(image.astype(int) - colours).max() <= tolerance


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_become_eight_by_the_nearest(mode):
    grey = np.array([[0, 128, 129, 257, 32767, 32896, 65535]])
    source = Image.new(mode, (7, 1))
    for x, value in enumerate(grey[0]):
        source.putpixel((x, 0), int(value))
    expected = np.rint(grey / 257)
    np.testing.assert_array_equal(load_image(source), np.repeat(expected[..., None], 3, 2))


def test_a_16_bit_file_becomes_eight_bits(tmp_path):
    for kind in ("PNG", "TIFF"):
        (tmp_path / "deep").write_bytes(encoded(Image.fromarray(np.array([[0, 25700, 65535]], np.uint16)), kind))
        np.testing.assert_array_equal(load_image(tmp_path / "deep")[0, :, 0], [0, 100, 255])


def test_fractions_count_to_one_or_to_255():
    def grey(values):
        return load_image(Image.fromarray(np.array([values], np.float32)))[0, :, 0].tolist()

    assert grey([-1.0, 0.0, 0.5, 1.0]) == [0, 0, 128, 255]
    assert grey([-1.0, 0.0, 99.6, 300.0]) == [0, 0, 100, 255]
    assert_refused(Image.fromarray(np.array([[np.nan]], np.float32)), "finite")


def test_what_is_transparent_is_laid_on_white():
    clear, half, full = (200, 100, 0, 0), (200, 100, 0, 128), (200, 100, 0, 255)
    rgba = np.array([[clear, half, full]], np.uint8)
    expected = [[255, 255, 255], [227, 177, 127], [200, 100, 0]]
    np.testing.assert_allclose(load_image(Image.fromarray(rgba))[0], expected, atol=1)
    np.testing.assert_array_equal(load_image(Image.fromarray(rgba)), load_image(rgba))
    np.testing.assert_allclose(load_image(Image.fromarray(rgba).convert("RGBa"))[0], expected, atol=1)
    grey = Image.fromarray(np.array([[[100, 0], [100, 255]]], np.uint8), "LA")
    for mode in ("LA", "La"):
        np.testing.assert_allclose(load_image(grey.convert(mode))[0], [[255] * 3, [100] * 3], atol=1)


def test_a_palette_or_a_plain_colour_may_be_transparent(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        (tmp_path / "a").write_bytes(encoded(palette, kind, transparency=1))
        np.testing.assert_array_equal(load_image(tmp_path / "a")[0], [[10, 20, 30], [255] * 3])
    plain = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    (tmp_path / "a").write_bytes(encoded(plain, "PNG", transparency=(4, 5, 6)))
    np.testing.assert_array_equal(load_image(tmp_path / "a")[0], [[1, 2, 3], [255] * 3])


def exif_orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(tmp_path, orientation, kind):
    # How the camera would store `upright` for each value of the tag, by the tag's definition (where row 0 and column 0 are).
    stored_as = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    }
    # Blocks of 16 pixels, which a JPEG keeps within a little.
    upright = picture(2, 3).repeat(16, 0).repeat(16, 1)
    stored = Image.fromarray(np.ascontiguousarray(stored_as[orientation](upright)))
    options = {"WEBP": {"lossless": True}, "JPEG": {"subsampling": 0}}.get(kind, {})
    (tmp_path / "photo").write_bytes(encoded(stored, kind, exif=exif_orientation(orientation), **options))
    np.testing.assert_allclose(load_image(tmp_path / "photo"), upright, atol=3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_exif_data_does_not_hide_the_picture_and_nobody_is_warned(tmp_path, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(picture()), kind, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken", **options)
    # A JPEG without a density in its first segment is searched for one in the EXIF data.
    (tmp_path / "photo").write_bytes(content.replace(b"JFIF", b"JFIX"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(tmp_path / "photo").shape == (6, 9, 3)
        with pytest.raises(UserWarning):
            warnings.warn("of others", stacklevel=1)
    if kind != "JPEG":
        np.testing.assert_array_equal(load_image(tmp_path / "photo"), picture())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_reads_an_image_reads_images_too(tmp_path):
    (tmp_path / "photo.png").write_bytes(encoded(Image.fromarray(picture()), "PNG"))
    inside, done = threading.Event(), threading.Event()

    class Slow(Image.Image):
        def load(self):
            inside.set()
            done.wait(30)
            return super().load()

    source = Image.fromarray(picture())
    source.__class__ = Slow
    thread = threading.Thread(target=load_image, args=(source,))
    thread.start()
    inside.wait(30)
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends the child if it waits for what the other thread held
        os._exit(not np.array_equal(load_image(tmp_path / "photo.png"), picture()))
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_image_of_several_strips_is_read_in_full(tmp_path):
    """Pixels are converted in strips: nothing is missing between them, nor at the end."""
    whole = picture(700, 801)
    opaque = np.dstack([whole, np.full((700, 801, 1), 255, np.uint8)])
    (tmp_path / "whole.png").write_bytes(encoded(Image.fromarray(whole), "PNG", compress_level=0))
    (tmp_path / "opaque.png").write_bytes(encoded(Image.fromarray(opaque), "PNG", compress_level=0))
    sources = (tmp_path / "whole.png", tmp_path / "opaque.png", opaque, whole.astype(np.uint16) * 257, whole / np.float32(255))
    for source in sources:
        np.testing.assert_array_equal(load_image(source), whole)
    grey = whole[:, :, 0]
    for source in (Image.fromarray(grey.astype(np.uint16) * 257), Image.fromarray(grey.astype(np.float32)), grey):
        np.testing.assert_array_equal(load_image(source), np.repeat(grey[:, :, None], 3, 2))
    # Whether fractions count to 1 or to 255 is a question to the whole picture.
    dark = np.zeros((700, 801), np.float32)
    dark[-1, -1] = 200
    assert load_image(Image.fromarray(dark))[-1, -1].tolist() == [200] * 3
    dark[0, 0] = 1
    assert load_image(Image.fromarray(dark))[0, 0].tolist() == [1] * 3


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        (tmp_path / "film").write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        np.testing.assert_array_equal(load_image(tmp_path / "film"), np.asarray(frames[0]), err_msg=kind)


def test_arrays_are_taken_as_they_are():
    image = picture()
    np.testing.assert_array_equal(load_image(image), image)
    np.testing.assert_array_equal(load_image(image[::-1, ::-1]), image[::-1, ::-1])
    grey = image[:, :, 0]
    for source in (grey, grey[:, :, None]):
        np.testing.assert_array_equal(load_image(source), np.repeat(grey[:, :, None], 3, 2))


@pytest.mark.parametrize(
    "source, words",
    [
        (picture().astype(np.int64), "int64 (6, 9, 3): expected an image, uint8 (H, W, 3)"),
        (picture().astype(complex), "complex128 (6, 9, 3)"),
        (np.maximum(picture(), 1).astype(np.float32), "float32 with values from 1 to 249: expected 0 to 1"),
        (np.linspace(-0.1, 0.9, 12).reshape(2, 6), "float64 with values from -0.1 to 0.9: expected 0 to 1"),
        (np.full((2, 2), np.nan, np.float32), "float32 with NaN or infinite values: expected numbers from 0 to 1"),
        (np.full((2, 2, 4), np.inf, np.float16), "float16 with NaN or infinite values"),
        (picture().transpose(2, 0, 1), "uint8 (3, 6, 9)"),
        (np.zeros((2, 32, 32, 3), np.uint8), "uint8 (2, 32, 32, 3)"),
        (np.zeros(5, np.uint8), "uint8 (5,)"),
        (None, "NoneType"),
        (5, "int"),
        (b"bytes", "bytes"),
    ],
)
def test_another_kind_of_input_is_refused_with_what_was_expected(source, words):
    assert_refused(source, words)


def test_fractions_that_are_rounded_to_just_outside_are_taken():
    for dtype, low, high in [(np.float32, -1e-7, 1.0000001), (np.float64, -2e-7, 1.0000002), (np.float16, -0.0005, 1.001)]:
        assert load_image(np.array([[low, 0.5, high]], dtype))[0, :, 0].tolist() == [0, 128, 255]
    # A picture of fractions that goes up to 255 is another one.
    assert load_image(Image.fromarray(np.array([[0.5, 1.0000001]], np.float32)))[0, :, 0].tolist() == [128, 255]


def test_the_digits_of_a_refused_fraction_show_that_it_is_outside():
    assert_refused(np.array([[0, 1.000002]], np.float32), "float32 with values from 0 to 1.000002: expected 0 to 1")
    assert_refused(np.array([[-1e-5, 1]]), "float64 with values from -1e-05 to 1: expected 0 to 1")


def test_one_nan_among_many_pixels_is_found():
    for bad in (np.nan, np.inf, -np.inf):
        image = np.zeros((700, 800, 3), np.float32)
        image[600, 700, 1] = bad
        assert_refused(image, "NaN or infinite")


def test_arrays_of_other_types_are_scaled_to_eight_bits():
    def colour(values, dtype):
        return load_image(np.array([[values]], dtype))[0, 0].tolist()

    assert colour([0.0, 0.5, 1.0], np.float32) == colour([0.0, 0.5, 1.0], np.float64) == [0, 128, 255]
    assert colour([0.0, 0.25, 1.0], np.float16) == [0, 64, 255]
    assert colour([0, 129, 65535], np.uint16) == [0, 1, 255]
    assert colour([0, 25700, 65535], ">u2") == [0, 100, 255]
    assert colour([True, False, True], bool) == [255, 0, 255]
    assert colour([0, 51400, 0, 0], np.uint16) == [255, 255, 255] and colour([0, 0.2, 1, 1], np.float32) == [0, 51, 255]


def test_loading_does_not_change_the_callers_image():
    source = Image.fromarray(np.dstack([picture(), picture()[:, :, 0]]))
    before = source.copy()
    load_image(source)
    assert source == before


@pytest.mark.parametrize("size", [(6, 9), (4, 4), (32, 32), (48, 32)])
def test_loading_at_a_size_is_loading_and_fitting(tmp_path, size):
    sources = [picture(), np.dstack([picture(), picture()[:, :, :1]]), picture(600, 701), Image.fromarray(picture(501, 700))]
    (tmp_path / "photo").write_bytes(encoded(Image.fromarray(picture(60, 80)), "PNG", exif=exif_orientation(6)))
    for source in (*sources, tmp_path / "photo"):
        np.testing.assert_array_equal(load_image(source, size), fit(load_image(source), size))


def test_an_image_of_the_right_size_is_untouched():
    image = picture(32, 48)
    assert fit(image, (32, 48)) is image


@pytest.mark.parametrize("height, width", [(64, 64), (64, 128), (128, 64), (8, 8), (1, 1000), (1000, 1), (33, 47), (31, 32)])
def test_fit_gives_the_size_asked_for(height, width):
    for size in ((32, 32), (32, 48), (48, 32)):
        image = fit(np.full((height, width, 3), 77, np.uint8), size)
        assert image.shape == (*size, 3) and (image == 77).all()


def test_fit_cuts_out_the_centre():
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 200
    assert (fit(wide, (16, 16))[:, 2:-2] == 200).all() and fit(wide, (32, 64))[:, 0].max() == 0
    tall = wide.transpose(1, 0, 2)
    assert (fit(np.ascontiguousarray(tall), (16, 16))[2:-2] == 200).all()


def test_fit_blends_what_is_smaller_than_a_pixel():
    checks = np.indices((256, 256)).sum(0) % 2 * np.uint8(255)
    small = fit(np.repeat(checks[:, :, None], 3, 2).astype(np.uint8), (32, 32))
    assert np.abs(small[4:-4, 4:-4].astype(int) - 127).max() <= 2


def test_a_file_name_that_is_no_text_is_shown_in_one_line(tmp_path):
    assert_refused(Path(tmp_path) / "two\nlines.png", r"two\nlines.png")
