"""Images at the size of a network: files, pictures and arrays of the same pixels give the same result, JPEGs nearly."""

import io

import numpy as np
import PIL.Image
import pytest

from minisqx.errors import ImageError
from minisqx.images import files
from minisqx.images.load import fit, load_image
from tests.image_files import encoded

SIZE = (8, 8)


def photo(height, width):
    """A smooth picture with edges, of which every part differs."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * y - 3 * x), np.sign(np.sin(11 * x) * np.sin(13 * y)) * x]
    return np.rint(127.5 + 110 * np.stack(waves, axis=2)).astype(np.uint8)


def jpeg(image, orientation=1, **options):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return encoded(PIL.Image.fromarray(image), "JPEG", **{"quality": 95, "exif": exif} | options)


def in_full(content, monkeypatch):
    """The result where a JPEG is decoded at its own size."""
    with monkeypatch.context() as patched:
        patched.setattr(files, "PIXELS_LEFT", 1 << 30)
        return load_image(content, SIZE)


def decoded_sizes(monkeypatch):
    """The sizes of the pictures that are decoded from now on."""
    found = []
    pixels_of = files.pixels_of
    monkeypatch.setattr(files, "pixels_of", lambda picture, *rest: found.append(picture.size) or pixels_of(picture, *rest))
    return found


def test_a_file_a_picture_and_an_array_of_the_same_pixels_are_one_image():
    image = photo(123, 97)
    expected = fit(image, SIZE)
    picture = PIL.Image.fromarray(image)
    readonly = np.asarray(picture)
    assert not readonly.flags.writeable
    sources = [encoded(picture, kind, **{"lossless": True} if kind == "WEBP" else {}) for kind in ("PNG", "BMP", "TIFF", "WEBP")]
    sources += [picture, readonly, np.asfortranarray(image), np.repeat(image, 2, axis=1)[:, ::2], image / 255]
    sources += [image.astype(np.uint16) * 257, np.dstack([image, np.full((123, 97), 255, np.uint8)])]
    for source in sources:
        np.testing.assert_array_equal(load_image(source, SIZE), expected)


@pytest.mark.parametrize("side", [1, 3, 8])
def test_blue_first_is_the_same_image_at_a_size_too(side):
    image = photo(side, 2 * side)
    turned = np.ascontiguousarray(image[:, :, ::-1])
    expected = load_image(image, SIZE)
    for source in (turned, image[:, :, ::-1], turned / 255, np.dstack([turned, np.full((side, 2 * side), 255, np.uint8)])):
        np.testing.assert_array_equal(load_image(source, SIZE, bgr=True), expected)
    # A view that is reversed already, as programs turn OpenCV's frames.
    np.testing.assert_array_equal(load_image(turned[:, :, ::-1], SIZE), expected)
    np.testing.assert_array_equal(load_image(turned[:, :, ::-1]), image)


def test_fractions_outside_the_centre_are_checked_too():
    image = photo(20, 60) / 255
    for bad in (np.nan, np.inf, 1.5):
        wrong = image.copy()
        wrong[3, 0, 1] = bad
        with pytest.raises(ImageError, match="expected"):
            load_image(wrong, SIZE)


# (height, width, what each side is divided by): the shorter side keeps at least six pixels for each of the eight.
@pytest.mark.parametrize("height, width, part", [(96, 96, 2), (391, 193, 4), (385, 400, 8), (95, 600, 1)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_decoded_at_a_fraction_and_shows_the_same(monkeypatch, height, width, part, orientation):
    content = jpeg(photo(height, width), orientation)
    expected = in_full(content, monkeypatch)
    sizes = decoded_sizes(monkeypatch)
    found = load_image(content, SIZE)
    assert sizes == [(-(-width // part), -(-height // part))]
    np.testing.assert_allclose(found.astype(int), expected, atol=2)


def test_a_picture_ends_where_it_ended_before_it_was_decoded_at_a_fraction(monkeypatch):
    """33 columns become 5, of which the last has one column of the picture and 7 that a JPEG makes up."""
    image = np.repeat(np.linspace(0, 255, 33).astype(np.uint8)[None, :, None], 33, 0).repeat(3, 2)
    for orientation in (1, 2, 6, 8):
        content = jpeg(image, orientation)
        with monkeypatch.context() as patched:
            patched.setattr(files, "PIXELS_LEFT", 1)
            found = load_image(content, (4, 4))
        np.testing.assert_allclose(found.astype(int), fit(load_image(content), (4, 4)), atol=6)


def test_a_target_that_is_not_square_is_turned_with_the_picture(monkeypatch):
    content = jpeg(photo(400, 200), orientation=6)
    sizes = decoded_sizes(monkeypatch)
    assert load_image(content, (16, 32)).shape == (16, 32, 3)
    assert load_image(content, (32, 16)).shape == (32, 16, 3)
    assert sizes == [(100, 200), (200, 400)]


def test_colours_with_black_ink_are_decoded_at_their_own_size(monkeypatch):
    content = encoded(PIL.Image.fromarray(photo(96, 96)).convert("CMYK"), "JPEG")
    sizes = decoded_sizes(monkeypatch)
    np.testing.assert_array_equal(load_image(content, SIZE), fit(load_image(content), SIZE))
    assert sizes == [(96, 96), (96, 96)]


def test_a_jpeg_that_pillow_opened_is_decoded_like_its_file():
    content = jpeg(photo(150, 130), 8)
    expected = load_image(content, SIZE)
    source = PIL.Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(load_image(source, SIZE), expected)
    assert source.size == (130, 150) and source.tile
    np.testing.assert_array_equal(load_image(io.BytesIO(content), SIZE), expected)
    # Its decoded pixels give nearly the same: the last pixels at a fraction of the size have some that lie outside the picture.
    source.load()
    np.testing.assert_allclose(load_image(source, SIZE).astype(int), expected, atol=6)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
def test_a_jpeg_is_refused_alike_at_every_size(options):
    whole = jpeg(photo(110, 120), **options)
    np.testing.assert_array_equal(load_image(whole[:-2], SIZE), load_image(whole, SIZE))
    for cut in (*range(3, 40), *range(40, len(whole), 97)):
        lines = []
        for size in (None, SIZE):
            with pytest.raises(ImageError) as caught:
                load_image(whole[:-cut], size)
            lines.append(str(caught.value))
        assert lines[0] == lines[1]


def test_the_limits_are_those_of_the_whole_picture():
    blank = encoded(PIL.Image.new("L", (9_000, 8_000)), "JPEG")
    for size in (None, SIZE):
        with pytest.raises(ImageError, match="has 9000 x 8000 pixels; expected at most 70000000"):
            load_image(blank, size)
