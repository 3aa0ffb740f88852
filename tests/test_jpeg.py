"""A JPEG without its last bytes: read where only the end-of-image marker is missing, else refused."""

import io

import numpy as np
import pytest
from PIL import Image

from minisqx.errors import ImageError
from minisqx.images.jpeg import has_one_scan, with_end
from minisqx.images.load import load_image
from tests.image_files import encoded

WAYS = {
    "baseline": ("RGB", {}),
    "baseline, best quality": ("RGB", {"quality": 100, "subsampling": 0}),
    "optimised": ("RGB", {"optimize": True}),
    "with restarts": ("RGB", {"restart_marker_rows": 1}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive, best quality": ("RGB", {"progressive": True, "quality": 100, "subsampling": 0}),
    "progressive, with restarts": ("RGB", {"progressive": True, "restart_marker_rows": 1}),
    "progressive, grey": ("L", {"progressive": True}),
}


def photo(mode, options, height=24, width=40):
    """Smooth on the left and noise on the right; blocks of a JPEG reach over its edges."""
    rng = np.random.default_rng(1)
    slope = np.add.outer(np.arange(height), np.arange(width))[:, :, None] * [1, 2, 3] % 256
    noise = rng.integers(0, 256, (height, width, 3))
    pixels = np.where((np.arange(width) < width // 2)[None, :, None], slope, noise).astype(np.uint8)
    return encoded(Image.fromarray(pixels).convert(mode), "JPEG", **options)


@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_without_its_last_two_bytes_is_read(way, tmp_path):
    whole = photo(*WAYS[way])
    expected = load_image(whole)
    for cut in (1, 2):
        (tmp_path / "photo").write_bytes(whole[:-cut])
        np.testing.assert_array_equal(load_image(tmp_path / "photo"), expected)
        np.testing.assert_array_equal(load_image(Image.open(io.BytesIO(whole[:-cut]))), expected)


@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_that_lacks_more_than_its_end_marker_is_refused(way):
    whole = photo(*WAYS[way])
    for cut in (*range(3, 60), *range(60, min(2048, len(whole)), 61)):
        with pytest.raises(ImageError, match="damaged or incomplete"):
            load_image(whole[:-cut])


@pytest.mark.parametrize("options", [{"optimize": True}, {"progressive": True}], ids=["optimised", "progressive"])
def test_a_jpeg_whose_last_blocks_lie_outside_the_picture_is_refused_too(options):
    """What is missing may show in no pixel, or in a few."""
    for seed in range(8):
        noise = np.random.default_rng(seed).integers(0, 256, (50, 50, 3), np.uint8)
        whole = encoded(Image.fromarray(noise), "JPEG", quality=95, **options)
        np.testing.assert_array_equal(load_image(whole[:-2]), load_image(whole))
        for cut in range(3, 24):
            with pytest.raises(ImageError, match="damaged or incomplete"):
                load_image(whole[:-cut])


def test_other_bytes_in_place_of_the_end_marker_are_not_taken_for_a_whole_scan():
    whole = photo(*WAYS["baseline"])
    for behind in (bytes(1), bytes(8), b"\x55", b"\xff\xc4\0"):
        assert with_end(whole[:-2] + behind) is None
    assert with_end(whole[:-2]) == with_end(whole[:-1]) == whole


def test_a_progressive_jpeg_cut_between_two_scans_is_refused():
    """Its pixels are all there, but coarse: the scans that make them finer are missing."""
    whole = photo(*WAYS["progressive"])
    first = whole.index(b"\xff\xda")
    places = [at for at in range(first + 2, len(whole)) if whole[at : at + 2] in (b"\xff\xc4", b"\xff\xda")]
    assert len(places) > 8
    for at in places:
        with pytest.raises(ImageError, match="damaged or incomplete"):
            load_image(whole[:at])


def test_a_jpeg_cut_between_restarts_is_refused():
    whole = photo(*WAYS["with restarts"])
    places = [at for at in range(len(whole) - 1) if whole[at] == 0xFF and 0xD0 <= whole[at + 1] <= 0xD7]
    assert len(places) >= 1
    for at in places:
        for cut in (at, at + 1, at + 2):
            with pytest.raises(ImageError, match="damaged or incomplete"):
                load_image(whole[:cut])


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_in_one_scan_is_told_from_its_headers(way):
    whole = photo(*WAYS[way])
    first = whole.index(b"\xff\xda")
    headers = whole[: first + 2 + int.from_bytes(whole[first + 2 : first + 4], "big")]
    assert has_one_scan(headers) == ("progressive" not in way)
    # A scan of fewer components than the frame has, two frames, no frame, no scan.
    scan, frame = headers[first:], headers[headers.index(b"\xff\xc0" if b"\xff\xc0" in headers else b"\xff\xc2") :]
    frame = frame[: 2 + int.from_bytes(frame[2:4], "big")]
    assert not has_one_scan(headers[:first] + scan[:4] + bytes([scan[4] - 1]) + scan[5:])
    assert not has_one_scan(headers[:first] + frame + scan)
    assert not has_one_scan(headers.replace(frame, b""))
    assert not has_one_scan(headers[:first])
    assert not has_one_scan(b"")


def test_a_second_scan_of_a_picture_in_one_scan_is_refused_undecoded():
    whole = photo(*WAYS["baseline"])
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    for count in (1, 100):
        with pytest.raises(ImageError, match="damaged or incomplete"):
            load_image(whole[:-2] + scan * count + whole[-2:])


def test_a_jpeg_that_lacks_its_end_is_turned_upright_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = photo("RGB", {"exif": exif})
    assert load_image(whole[:-2]).shape == (40, 24, 3)
    np.testing.assert_array_equal(load_image(whole[:-2]), load_image(whole))
