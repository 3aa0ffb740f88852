"""A `Dataset` is what it says or an error, and parts are divided by the seed alone."""

import os
import subprocess
import sys

import numpy as np
import pytest

from minisqx.data import Dataset, open_dataset, split_validation
from minisqx.data.dataset import Part
from minisqx.errors import DataError, OptionError
from tests.image_folders import picture, save

IMAGES = np.zeros((4, 8, 8, 3), np.uint8)
LABELS = np.array([0, 1, 1, 0])
GOOD = {"name": "some data", "classes": ("cat", "dog"), "train": Part(IMAGES, LABELS), "test": Part(IMAGES[:2], LABELS[:2])}


def test_good_arrays_are_taken():
    assert Dataset(**GOOD).image_size == (8, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ()},
        {"classes": ("cat", "cat")},
        {"classes": ("cat", "")},
        {"classes": ("cat", "two\nlines")},
        {"classes": ("caf\u00e9", "cafe\u0301")},
        {"classes": ("cat", 7)},
        {"train": Part(IMAGES.astype(np.float32), LABELS)},
        {"train": Part(IMAGES[..., :1], LABELS)},
        {"train": Part(IMAGES[:0], LABELS[:0])},
        {"train": Part(IMAGES[:, :0], LABELS)},
        {"train": Part(IMAGES, LABELS[:3])},
        {"train": Part(IMAGES, LABELS.astype(np.int32))},
        {"train": Part(IMAGES, LABELS + 1)},
        {"train": Part(IMAGES, LABELS, names=("a.png",))},
        {"train": Part(IMAGES, LABELS, groups=np.zeros(3, np.int64))},
        {"train": Part(IMAGES, LABELS, groups=np.zeros(4))},
        {"test": Part(IMAGES[:2], LABELS[:2] - 1)},
        {"test": Part(IMAGES[:2, :, :7], LABELS[:2])},
        {"test": Part(IMAGES[:0], LABELS[:0])},
        {"validation": Part(IMAGES[:0], LABELS[:0])},
        {"validation": Part(IMAGES[:, :7], LABELS)},
        {"validation": Part(IMAGES, LABELS + 1)},
    ],
)
def test_anything_else_is_refused_in_one_line(change):
    with pytest.raises(DataError) as caught:
        Dataset(**{**GOOD, **change})
    assert "some data" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("gone", None, "no file or folder"),
        ("empty.h5", b"", "empty file"),
        ("notes.txt", b"plain text", "neither a CIFAR-10 archive nor an HDF5 file"),
        ("a.zip", b"PK\x03\x04" + bytes(50), "neither a CIFAR-10 archive nor an HDF5 file"),
    ],
)
def test_path_that_is_no_data_is_refused_in_one_line(tmp_path, name, content, part):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=part) as caught:
        open_dataset(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        open_dataset(tmp_path / "pipe")


@pytest.mark.parametrize("path", [5, ["a"], b"a", "a\0b", "x" * 5000, "loop"])
def test_a_path_that_can_be_none_is_refused_in_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)


def test_one_name_twice_among_the_most_classes_is_found_in_linear_time():
    names = tuple(map(str, range(99_999)))
    with pytest.raises(DataError, match="'99998' is listed twice"):
        Dataset(**{**GOOD, "classes": (*names, names[-1])})


def test_size_that_the_data_does_not_have_is_refused():
    with pytest.raises(DataError, match="32 x 32 pixels, not 48 x 48"):
        open_dataset("shapes", image_size=(48, 48))


def test_split_sets_the_same_share_of_every_class_aside():
    labels = np.repeat(np.arange(4), (10, 20, 30, 41))
    kept, aside = split_validation(labels, 25, seed=3)
    assert len(aside) == 25 and sorted([*kept, *aside]) == list(range(101))
    assert (np.diff(kept) > 0).all() and (np.diff(aside) > 0).all()
    shares = np.bincount(labels[aside]) / np.bincount(labels) * 101 / 25
    assert (abs(np.bincount(labels[aside]) - 25 * np.bincount(labels) / 101) < 1).all(), shares


def test_split_depends_on_the_seed_and_on_nothing_else():
    labels = np.arange(1000) % 10
    one, again, other = (split_validation(labels, 100, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert len(np.intersect1d(one, other)) < 30  # 10 are expected by chance


def test_split_of_nothing_keeps_all_and_of_everything_is_refused():
    kept, aside = split_validation(LABELS, 0, seed=0)
    assert kept.tolist() == [0, 1, 2, 3] and aside.tolist() == []
    for count in (4, -1):
        with pytest.raises(OptionError, match="expected 0 to 3"):
            split_validation(LABELS, count, seed=0)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, minisqx.data; print([name for name in ('numba', 'h5py', 'PIL', 'numpy') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("size", [[16, 12], np.array([16, 12]), (np.int64(16), 12)])
def test_an_image_size_is_any_pair_of_whole_numbers(tmp_path, monkeypatch, size):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))
    for label in ("a", "b"):
        for number in range(2):
            save(tmp_path / "images" / label / f"{number}.png", picture(number, (20, 20)))
    assert open_dataset(tmp_path / "images", image_size=size, say=lambda line: None).image_size == (16, 12)
    for wrong in (16, (16,), (0, 16), (16.5, 16), (16, 5000)):
        with pytest.raises(OptionError, match=r"^image_size .*: expected \(height, width\) in pixels, each from 1 to 4096$"):
            open_dataset(tmp_path / "images", image_size=wrong, say=lambda line: None)
