"""Our copy of Pillow has switches of its own: those of the program and of other libraries never change."""

import io
import logging
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest

from minisqx.errors import ImageError
from minisqx.images import pillow
from minisqx.images.load import load_image
from tests.image_files import encoded, png

# Everything plain that a module of another library keeps, before and after minisqx was used for all that it can do.
UNTOUCHED = """
import logging, pickle, sys, warnings
import h5py, matplotlib, numba, numpy, PIL.Image, PIL.ImageFile, PIL.PngImagePlugin, PIL.TiffImagePlugin, PIL.JpegImagePlugin
PIL.ImageFile.LOAD_TRUNCATED_IMAGES = True
PIL.Image.init()
numba.core.entrypoints.init_all()
plain = (bool, int, float, str, bytes, type(None))
mine = "warnings", "logging", "PIL", "numpy", "numba", "h5py", "matplotlib"

def state():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in mine and name in known:
            for key, value in vars(module).items():
                if isinstance(value, plain) or isinstance(value, (tuple, list)) and all(isinstance(one, plain) for one in value):
                    found[name, key] = type(value), repr(value)
    found["filters"] = repr(warnings.filters), pickle.dumps(warnings.filters)
    found["loggers"] = {name: (repr(one.filters), repr(one.handlers), one.level) for name, one in loggers.items()}
    found["numpy"] = numpy.geterr(), repr(numpy.get_printoptions())
    found["h5py"] = [h5py.h5pl.get(number) for number in range(h5py.h5pl.size())]
    found["matplotlib"] = dict(dict.items(matplotlib.rcParams))
    found["Pillow"] = PIL.Image.OPEN, PIL.Image.ID[:], warnings.showwarning, warnings.warn
    return found

numba.njit(lambda x: x + x)(numpy.ones(2))  # Numba fills tables of its own when it first compiles
known = set(sys.modules)
loggers = {name: one for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
before = state()
from pathlib import Path
from minisqx.training.curves import draw_curves
from minisqx.data import open_dataset
import minisqx
folder = Path(sys.argv[1])
for path in sorted(folder.glob("*/*")):
    minisqx.infer(path)
    minisqx.infer(PIL.Image.open(path))
try:
    minisqx.infer(folder / "missing")
except minisqx.errors.ImageError:
    pass
open_dataset(str(folder))
with h5py.File(folder.parent / "data.h5", "w") as file:
    file["images"], file["labels"] = numpy.zeros((40, 8, 8, 3), numpy.uint8), numpy.arange(40) % 2
open_dataset(str(folder.parent / "data.h5"))
row = {f"{split}_{what}": 0.5 for split in ("train", "validation", "test") for what in ("loss", "accuracy")}
draw_curves([row | {"lr": 0.1, "epoch": 1}], "a run")
after = state()
print([key for key in before.keys() | after.keys() if before.get(key) != after.get(key)])
"""


def picture(side=64):
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))


def test_nothing_is_left_in_the_globals_of_other_libraries(tmp_path):
    for number, kind in enumerate(("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "AVIF")):
        for label in ("a", "b"):
            (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / label / str(number)).write_bytes(encoded(picture(), kind))
    command = [sys.executable, "-c", UNTOUCHED, str(tmp_path / "photos")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_every_entry_of_the_warnings_filters_can_be_pickled_as_for_workers(tmp_path):
    before = list(warnings.filters)
    (tmp_path / "photo").write_bytes(encoded(picture(), "PNG"))
    load_image(tmp_path / "photo")
    assert warnings.filters == before and pickle.loads(pickle.dumps(before)) == before


def test_other_threads_see_their_switches_while_an_image_is_read(monkeypatch):
    """They are looked at from another thread in the middle of reading, and by a file of the program's own there."""
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = encoded(picture(), "PNG")
    seen = []

    def other():
        with PIL.Image.open(io.BytesIO(whole[: len(whole) // 2])) as cut:
            cut.load()
        with pytest.raises(UserWarning):
            warnings.warn("of another thread", stacklevel=1)
        seen.append(PIL.ImageFile.LOAD_TRUNCATED_IMAGES)

    class Slow(io.BytesIO):
        def read(self, size=-1):
            if not seen:
                thread = threading.Thread(target=other)
                thread.start()
                thread.join()
            return super().read(size)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_image(Slow(whole))
        load_image(PIL.Image.open(Slow(whole)))
    assert seen == [True]


def test_the_copy_of_pillow_is_silent_and_strict_and_its_own(caplog):
    for name in ("Image", "ImageFile", "PngImagePlugin", "TiffImagePlugin", "JpegImagePlugin"):
        ours, theirs = sys.modules[f"minisqx.images.pillow.{name}"], sys.modules[f"PIL.{name}"]
        assert ours is not theirs and ours.__file__ == theirs.__file__
    assert pillow.Image.core is PIL.Image.core and pillow.Image.Image is not PIL.Image.Image
    assert set(pillow.Image.OPEN) == {"PNG", "JPEG", "BMP", "DIB", "WEBP", "GIF", "PPM", "TIFF", "AVIF"}
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        pillow.Image.warnings.warn("of Pillow's")
        sys.modules["minisqx.images.pillow.TiffImagePlugin"].logger.error("of Pillow's")
    assert not caplog.records


def test_a_pixel_limit_of_the_program_is_its_own(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 5)
    content = encoded(picture(), "PNG")
    np.testing.assert_array_equal(load_image(content), np.asarray(picture()))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="at most 70000000 pixels"):
        load_image(png(60_000, 60_000, 8, 2, bytes(99)))
