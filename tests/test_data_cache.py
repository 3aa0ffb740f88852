"""Decoded images are kept, and never older than the files."""

import os
import shutil

import numpy as np
import PIL
import pytest

import minisqx.kernels.counters  # noqa: F401  (compiled code is kept in the cache folder of the first import, not of a test)
from minisqx.data import image_folder, open_dataset
from tests.cifar10_files import binary_archive, random_batches
from tests.image_folders import make_folder, picture, save

TIME = (1_600_000_000, 1_600_000_000)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def read(path):
    return open_dataset(path, say=lambda line: None)


def bitmaps(root):
    """Files of one size and time, as archives and images of containers have them."""
    for label in ("cat", "dog"):
        for number in range(7):
            file = root / label / f"{number}.bmp"
            save(file, picture(100 * (label == "dog") + number))
            os.utime(file, TIME)
    return root


def test_other_pixels_in_a_file_of_the_same_name_size_and_time_are_read(tmp_path):
    folder = bitmaps(tmp_path / "photos")
    before = read(folder)
    file = folder / "cat" / "0.bmp"
    size = file.stat().st_size
    save(file, picture(77))
    os.utime(file, TIME)
    assert file.stat().st_size == size
    after = read(folder)
    images = [*after.train.images, *after.test.images]
    assert any((image == picture(77)).all() for image in images) and not any((image == picture(0)).all() for image in images)
    np.testing.assert_array_equal(before.train.labels, after.train.labels)


def test_two_class_folders_that_change_places_change_the_labels(tmp_path):
    folder = bitmaps(tmp_path / "photos")
    assert label_of(read(folder), picture(3)) == "cat"
    (folder / "cat").rename(folder / "aside")
    (folder / "dog").rename(folder / "cat")
    (folder / "aside").rename(folder / "dog")
    assert label_of(read(folder), picture(3)) == "dog"


def label_of(dataset, image):
    images, labels = (
        np.concatenate([getattr(part, what) for part in (dataset.train, dataset.test)]) for what in ("images", "labels")
    )
    [found] = np.flatnonzero((images == image).all(axis=(1, 2, 3)))
    return dataset.classes[labels[found]]


def test_an_archive_of_the_same_size_and_time_and_other_pixels_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("zlib.compressobj", plain_deflate())
    first, second = random_batches(seed=5), random_batches(seed=6)
    archive = binary_archive(tmp_path, first)
    os.utime(archive, TIME)
    size, before = archive.stat().st_size, read(archive)
    binary_archive(tmp_path, second)
    os.utime(archive, TIME)
    assert archive.stat().st_size == size
    assert (read(archive).train.images != before.train.images).any()


def plain_deflate():
    """What packs without making anything smaller, so that archives have one size."""
    import zlib

    real = zlib.compressobj
    return lambda level, *others: real(0, *others)


def test_what_is_written_while_it_is_decoded_is_decoded_again_and_not_kept(tmp_path, monkeypatch, cache_folder):
    folder = bitmaps(tmp_path / "photos")
    real, lines = image_folder.decode_images, []

    def slow(*arguments):
        decoded = real(*arguments)
        save(folder / "cat" / "0.bmp", picture(77))
        os.utime(folder / "cat" / "0.bmp", TIME)
        return decoded

    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "decode_images", slow)
        open_dataset(folder, say=lines.append)
    assert sum("changed while it was decoded" in line for line in lines) == 1 and not cache_folder.exists()
    assert label_of(read(folder), picture(77)) == "cat"


def test_a_file_that_is_gone_when_all_are_decoded_costs_a_line(tmp_path, monkeypatch):
    folder, lines = bitmaps(tmp_path / "photos"), []
    real = image_folder.decode_images
    monkeypatch.setattr(image_folder, "decode_images", lambda *given: (real(*given), shutil.rmtree(folder))[0])
    dataset = open_dataset(folder, say=lines.append)
    assert len(dataset.train.labels) + len(dataset.test.labels) == 14
    assert sum("changed while" in line for line in lines) == 1


def test_another_version_of_pillow_decodes_again(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "photos")
    read(folder)
    monkeypatch.setattr(PIL, "__version__", "99.0")
    lines = []
    open_dataset(folder, say=lines.append)
    assert any("decoding" in line for line in lines)
