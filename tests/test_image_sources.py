"""Images in the form in which a program has them: bytes, file objects, uploads, pictures that Pillow opened, OpenCV's arrays."""

import contextlib
import io
import random
import tempfile
import warnings

import numpy as np
import PIL.EpsImagePlugin
import PIL.Image
import PIL.ImageFile
import pytest

from minisqx.errors import ImageError, OptionError
from minisqx.images.load import load_image
from tests.image_files import encoded, png
from tests.stress.image_mutations import mutate, samples


def picture(height=6, width=9, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


PNG = encoded(PIL.Image.fromarray(picture()), "PNG")


class Upload:
    """What a web framework hands over: a name, and bytes in small pieces that can't be read twice."""

    filename = "cat.png"

    def __init__(self, content=PNG):
        self._rest = content

    def read(self, size=-1):
        size = min(size if size >= 0 else len(self._rest), 100)
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


def spooled(content=PNG):
    file = tempfile.SpooledTemporaryFile(max_size=10)  # noqa: SIM115
    file.write(content)
    return file


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, io.BytesIO, Upload, spooled], ids=lambda make: make.__name__)
def test_bytes_and_file_objects_are_images(make):
    np.testing.assert_array_equal(load_image(make(PNG)), picture())


def test_an_open_file_is_read_from_its_start_and_set_back(tmp_path):
    (tmp_path / "cat").write_bytes(PNG)
    with open(tmp_path / "cat", "rb") as file:
        file.seek(50)
        for _ in range(2):
            np.testing.assert_array_equal(load_image(file), picture())
        assert file.tell() == 50 and not file.closed


def closed():
    file = io.BytesIO(PNG)
    file.close()
    return file


class Awaited:
    filename = "cat.png"

    async def read(self):
        return PNG


@pytest.mark.parametrize(
    "source, words",
    [
        (b"", "an image given as bytes is an empty file"),
        (b"no picture", "an image given as bytes is not an image"),
        (PNG[:-30], "an image given as bytes is damaged or incomplete"),
        (io.BytesIO(b"no picture"), "an image given as BytesIO is not an image"),
        (Upload(b"no picture"), "'cat.png' is not an image"),
        (io.StringIO("text"), "is open as text: expected bytes; open it with mode 'rb'"),
        (Upload([1, 2, 3]), "'cat.png' gives list: expected bytes"),
        (closed(), "can't be read (I/O operation on closed file"),
        (Awaited(), "'cat.png' must be awaited"),
        (memoryview(np.zeros(560_000_001, np.uint8)), "560000001 bytes; expected at most 560000000"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_bytes_and_file_objects_that_are_no_image_are_refused(source, words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            load_image(source)
    assert words in str(caught.value) and "\n" not in str(caught.value)


class Whole:
    def read(self):
        return PNG


class Shared(io.BytesIO):
    """Another thread reads it between any two calls."""

    def read(self, size=-1):
        super().read()
        return super().read(size)


@pytest.mark.parametrize(
    "source, words",
    [(Whole(), "its read(size) must take a size: give its bytes"), (Shared(PNG), "give each thread a file of its own")],
    ids=["no size", "shared"],
)
def test_a_file_object_that_cannot_be_read_so_is_told_why(source, words):
    with pytest.raises(ImageError) as caught:
        load_image(source)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_matrix_is_an_array():
    grey = picture()[:, :, 0]
    for values in (grey, grey / 255):
        np.testing.assert_array_equal(load_image(values.view(np.matrix)), load_image(values))


def test_a_reader_that_lacks_its_program_does_not_call_the_file_damaged(monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: False)
    content = encoded(PIL.Image.fromarray(picture()), "EPS")
    for source in (content, PIL.Image.open(io.BytesIO(content))):
        with pytest.raises(ImageError, match="can't be read: its reader lacks something .Unable to locate Ghostscript"):
            load_image(source, formats=["EPS"])


def test_an_endless_file_object_is_read_no_further_than_the_limit(monkeypatch):
    monkeypatch.setattr("minisqx.images.load.MAX_BYTES", 1000)
    monkeypatch.setattr("minisqx.images.files.MAX_BYTES", 1000)
    with open("/dev/zero", "rb") as file, pytest.raises(ImageError, match="has 1001 bytes; expected at most 1000"):
        load_image(file)


@pytest.mark.parametrize("name, content", samples(), ids=[name for name, _ in samples()])
def test_a_picture_that_pillow_opened_is_what_its_file_is(name, content, tmp_path):
    expected = load_image(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = PIL.Image.open(io.BytesIO(content))
        np.testing.assert_array_equal(load_image(source), expected)
    # It is still as it was: not decoded, and its file is open.
    assert source.fp is not None and not source.fp.closed
    source.load()
    np.testing.assert_array_equal(load_image(source), expected)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_frame_that_the_program_chose_counts(kind):
    frames = [PIL.Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    source = PIL.Image.open(io.BytesIO(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)))
    for number in (1, 2, 0):
        source.seek(number)
        np.testing.assert_allclose(load_image(source).astype(int), np.asarray(frames[number]), atol=2)


def test_what_the_program_changed_before_pixels_were_read_counts():
    source = PIL.Image.open(io.BytesIO(encoded(PIL.Image.fromarray(picture(64, 64)), "JPEG")))
    source.draft("RGB", (16, 16))
    assert load_image(source).shape == (16, 16, 3)
    source = PIL.Image.open(io.BytesIO(encoded(PIL.Image.fromarray(picture()), "PNG")))
    source.info["transparency"] = tuple(map(int, picture()[0, 0]))
    assert load_image(source)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [None, 1, 3])
def test_exif_data_that_the_program_changed_before_pixels_were_read_counts(kind, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    source = PIL.Image.open(io.BytesIO(encoded(PIL.Image.fromarray(picture()), kind, exif=exif)))
    assert load_image(source).shape == (9, 6, 3)
    del source.getexif()[0x0112]
    if orientation is not None:
        source.getexif()[0x0112] = orientation
    before = load_image(source)
    assert before.shape == (6, 9, 3)
    source.load()
    np.testing.assert_array_equal(load_image(source), before)


def test_a_closed_picture_is_said_to_be_closed_and_not_damaged(tmp_path):
    (tmp_path / "cat").write_bytes(PNG)
    for loaded in (False, True):
        source = PIL.Image.open(tmp_path / "cat")
        if loaded:
            source.load()
        source.close()
        with pytest.raises(ImageError, match="the PIL image was closed before its pixels were read; call its load"):
            load_image(source)
    with PIL.Image.open(tmp_path / "cat") as source:
        pass
    with pytest.raises(ImageError, match="the PIL image was closed"):
        load_image(source)
    with PIL.Image.open(tmp_path / "cat") as source:
        source.load()
    np.testing.assert_array_equal(load_image(source), picture())
    file = io.BytesIO(PNG)
    source = PIL.Image.open(file)
    file.close()
    with pytest.raises(ImageError, match="the PIL image was closed"):
        load_image(source)


def test_a_picture_that_pillow_opened_has_the_limits_of_a_file():
    blank = png(4096, 4096, 1, 0, bytes(4096 * 513))
    with pytest.raises(ImageError, match="the PIL image claims 4096 x 4096 pixels"):
        load_image(PIL.Image.open(io.BytesIO(blank)))
    photo = encoded(PIL.Image.fromarray(picture(64, 64)), "JPEG", progressive=True)
    scan = photo[photo.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="the PIL image is a JPEG with more than 50 scans"):
        load_image(PIL.Image.open(io.BytesIO(photo[:-2] + scan * 60 + photo[-2:])))


def test_garbage_that_pillow_opened_is_an_image_error():
    rng, found = random.Random(7), samples()
    refused = 0
    for _ in range(400):
        content = mutate(rng.choice(found)[1], rng)
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = PIL.Image.open(io.BytesIO(content))
            try:
                load_image(source)
            except ImageError as error:
                refused += "\n" not in str(error)
            except Exception as error:
                pytest.fail(f"{type(error).__name__}: {error}")
    assert refused > 50


class Taught(PIL.ImageFile.ImageFile):
    format = "TAUGHT"

    def _open(self):
        self.fp.read(6)
        self._size, self._mode = (self.fp.read(1)[0] * 1000, 1), "RGB"
        self.tile = [PIL.ImageFile._Tile("raw", (0, 0, *self.size), 7, ("RGB", 0, 1))]


@pytest.fixture
def taught(monkeypatch):
    monkeypatch.setattr(PIL.Image, "OPEN", dict(PIL.Image.OPEN))
    monkeypatch.setattr(PIL.Image, "ID", list(PIL.Image.ID))
    PIL.Image.register_open("TAUGHT", Taught, lambda start: start.startswith(b"taught"))


def test_a_format_that_pillow_was_taught_is_read_on_request(taught, tmp_path):
    (tmp_path / "cat.heic").write_bytes(b"taught\1" + bytes((9, 8, 7)) * 1000)
    with pytest.raises(ImageError, match="is not an image"):
        load_image(tmp_path / "cat.heic")
    for source in (tmp_path / "cat.heic", (tmp_path / "cat.heic").read_bytes()):
        np.testing.assert_array_equal(load_image(source, formats=["taught"]), np.full((1, 1000, 3), (9, 8, 7)))
    with PIL.Image.open(tmp_path / "cat.heic") as source:
        assert load_image(source).shape == (1, 1000, 3)
    (tmp_path / "cat.heic").write_bytes(b"taught\1" + bytes((9, 8, 7)) * 500)
    with pytest.raises(ImageError, match="is damaged or incomplete"):
        load_image(tmp_path / "cat.heic", formats=["TAUGHT"])
    with pytest.raises(ImageError, match="is not an image"):
        load_image(b"another", formats=["TAUGHT"])


def test_a_taught_format_has_the_limit_of_pixels(taught, monkeypatch):
    monkeypatch.setattr("minisqx.images.files.MAX_PIXELS", 10)
    monkeypatch.setattr("minisqx.images.files.check_size.__defaults__", (None, 10, 10))
    with pytest.raises(ImageError, match="has 1000 x 1 pixels"):
        load_image(b"taught\1" + bytes(3000), formats=["TAUGHT"])


@pytest.mark.parametrize("formats", [["UNHEARD"], "HEIF", [3]])
def test_a_format_without_a_reader_is_refused_with_the_way_on(formats):
    with pytest.raises(OptionError, match="formats .*(register one first|expected a list of names)"):
        load_image(PNG, formats=formats)


def test_what_is_blue_first_is_turned_round():
    rgb, alpha = picture(), np.full((6, 9, 1), 255, np.uint8)
    np.testing.assert_array_equal(load_image(rgb[:, :, ::-1], bgr=True), rgb)
    np.testing.assert_array_equal(load_image(np.dstack([rgb[:, :, ::-1], alpha]), bgr=True), rgb)
    np.testing.assert_array_equal(load_image(rgb[:, :, ::-1] / 255, bgr=True), rgb)
    for source in (rgb[:, :, 0], rgb[:, :, :1], PNG, PIL.Image.fromarray(rgb)):
        np.testing.assert_array_equal(load_image(source, bgr=True), load_image(source))


@pytest.mark.parametrize("wrong", ["no", 1, None])
def test_whether_blue_is_first_is_true_or_false_whatever_the_source(wrong):
    for source in (picture(), PNG, PIL.Image.fromarray(picture())):
        with pytest.raises(OptionError, match="^bgr .*: expected True or False$"):
            load_image(source, bgr=wrong)
    assert np.array_equal(load_image(picture(), bgr=np.True_), load_image(picture(), bgr=True))
