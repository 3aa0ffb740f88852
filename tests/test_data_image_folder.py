"""A folder of images becomes a data set in the order of its names, or an error that names the file at fault."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import minisqx.kernels.counters  # noqa: F401  (compiled code is kept in the cache folder of the first import, not of a test)
from minisqx.data import image_folder, open_dataset
from minisqx.errors import DataError, ImageError
from tests.image_folders import make_folder, picture, save


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def error_line(*arguments, **options):
    with pytest.raises(DataError) as caught:
        open_dataset(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_and_labels_come_in_the_order_of_names(tmp_path):
    dataset = open_dataset(make_folder(tmp_path / "photos"))
    assert dataset.name == "image folder 'photos'" and dataset.classes == ("cat", "dog") and dataset.image_size == (8, 8)
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1] and dataset.test.labels.tolist() == [0, 0, 1, 1]
    for image, seed in zip(dataset.train.images, (0, 1, 2, 100, 101, 102), strict=True):
        np.testing.assert_array_equal(image, picture(seed))
    for image, seed in zip(dataset.test.images, (1000, 1001, 1100, 1101), strict=True):
        np.testing.assert_array_equal(image, picture(seed))


def test_files_are_told_by_content_and_hidden_ones_passed_over(tmp_path):
    folder = make_folder(tmp_path / "photos", train=1)
    for suffix in ("jpg", "bmp", "webp", "gif", "ppm", "tiff"):
        save(tmp_path / f"x.{suffix}", picture(7))
        shutil.move(tmp_path / f"x.{suffix}", folder / "train" / "cat" / f"{suffix}.data")
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"not an image")
    (folder / "train" / ".cache").mkdir()
    (folder / ".git").mkdir()
    dataset = open_dataset(folder)
    assert np.bincount(dataset.train.labels).tolist() == [7, 1] and dataset.classes == ("cat", "dog")


def test_images_of_different_sizes_are_brought_to_32_by_32(tmp_path):
    folder = make_folder(tmp_path / "photos")
    save(folder / "test" / "dog" / "wide.png", picture(5, (40, 60)))
    lines = []
    dataset = open_dataset(folder, say=lines.append)
    assert dataset.image_size == (32, 32) and len(dataset.test.images) == 5
    assert any("differ in size" in line for line in lines)


def test_images_are_brought_to_the_size_asked_for(tmp_path):
    folder = make_folder(tmp_path / "photos", size=(40, 60))
    assert open_dataset(folder).image_size == (40, 60)
    dataset = open_dataset(folder, image_size=(16, 24))
    assert dataset.image_size == (16, 24)
    # Nothing is cut away here, so the mean colour stays what it was but for the filter's weights at the edges.
    difference = dataset.train.images[0].mean(axis=(0, 1)) - picture(0, (40, 60)).mean(axis=(0, 1))
    assert abs(difference).max() < 3


def test_one_split_is_divided_the_same_way_every_time_by_its_files_names(tmp_path, cache_folder):
    folder = make_folder(tmp_path / "all", train=12, test=0)
    shutil.rmtree(folder / "test", ignore_errors=True)
    lines = []
    first = open_dataset(folder, say=lines.append)
    train, test = np.bincount(first.train.labels), np.bincount(first.test.labels)
    assert (train + test).tolist() == [12, 12] and (test >= 1).all() and (test <= 5).all()
    assert any("of its 24 images are set aside" in line for line in lines)
    shutil.move(folder, tmp_path / "moved")
    second = open_dataset(tmp_path / "moved")
    np.testing.assert_array_equal(first.test.images, second.test.images)
    together = np.concatenate([first.train.images, first.test.images]).reshape(24, -1)
    assert len(np.unique(together, axis=0)) == 24


def test_second_start_decodes_nothing_until_a_file_changes(tmp_path, monkeypatch, cache_folder):
    folder = make_folder(tmp_path / "photos")
    first = open_dataset(folder)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "load_image", lambda *given: pytest.fail("decoded again"))
        again = open_dataset(folder)
    assert again.name == first.name and again.classes == first.classes
    for part, other in ((again.train, first.train), (again.test, first.test)):
        np.testing.assert_array_equal(part.images, other.images)
        np.testing.assert_array_equal(part.labels, other.labels)
    changed = folder / "train" / "cat" / "000.png"
    state = changed.stat()
    save(changed, picture(77))
    os.utime(changed, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    np.testing.assert_array_equal(open_dataset(folder).train.images[0], picture(77))
    assert len(list(cache_folder.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "flip", "label", "name", "text", "size"])
def test_damaged_cache_costs_a_line_and_is_made_again(tmp_path, cache_folder, damage):
    folder = make_folder(tmp_path / "photos")
    first = open_dataset(folder)
    [kept] = cache_folder.iterdir()
    content = bytearray(kept.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "size":
        content = content.replace(b"[8, 8, 8, 3]", b"[8, 8, 8, 9]").replace(b"8, 8, 3]", b"8, 8, 99999999999]")
    elif damage == "label":
        content[-8] ^= 1
    elif damage == "name":
        content = content.replace(b'"cat"', b'"rat"')
    elif damage == "flip":
        content[content.find(picture(0).tobytes()) + 9] ^= 1
    else:
        content = b"nothing of the kind"
    kept.write_bytes(content)
    lines = []
    np.testing.assert_array_equal(open_dataset(folder, say=lines.append).train.images, first.train.images)
    assert sum("can't be used" in line and "\n" not in line for line in lines) == 1
    lines.clear()
    open_dataset(folder, say=lines.append)
    assert len(lines) == 1, "the cache was not made again"


def test_cache_folder_that_cannot_be_written_costs_a_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "file"))
    lines = []
    assert open_dataset(make_folder(tmp_path / "photos"), say=lines.append).image_size == (8, 8)
    assert sum("set MINISQX_CACHE" in line and "\n" not in line for line in lines) == 1


def test_without_a_home_folder_decoded_data_is_not_kept_and_a_line_says_so(tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MINISQX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    lines = []
    assert open_dataset(make_folder(tmp_path / "photos"), say=lines.append).image_size == (8, 8)
    assert sum("set MINISQX_CACHE" in line and "no home folder" in line for line in lines) == 1


def test_what_a_killed_process_left_in_the_cache_is_removed_once_it_is_old(tmp_path, cache_folder):
    cache_folder.mkdir(parents=True)
    old, new, other = (cache_folder / name for name in (".minisqx-aa.part", ".minisqx-bb.part", "cifar-10-python.tar.gz"))
    for file in (old, new, other):
        file.write_bytes(b"half")
    for file in (old, other):
        os.utime(file, (0, 0))
    open_dataset(make_folder(tmp_path / "photos"))
    assert not old.exists() and new.exists() and other.exists()


def test_a_full_disk_costs_a_line_and_leaves_no_file(tmp_path, monkeypatch, cache_folder):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    lines = []
    assert open_dataset(make_folder(tmp_path / "photos"), say=lines.append).image_size == (8, 8)
    assert sum("No space left" in line for line in lines) == 1 and not list(cache_folder.iterdir())


def test_file_that_is_no_image_is_named(tmp_path):
    folder = make_folder(tmp_path / "photos")
    (folder / "train" / "dog" / "labels.csv").write_text("a,b")
    assert "labels.csv" in error_line(folder)


def test_empty_or_truncated_image_is_named(tmp_path):
    folder = make_folder(tmp_path / "photos")
    victim = folder / "test" / "dog" / "001.png"
    whole = victim.read_bytes()
    for content in (b"", whole[: len(whole) // 2]):
        victim.write_bytes(content)
        assert "001.png" in error_line(folder)


def damaged_folder(root, **options):
    """Photos of which two are no images: one of the training part, one of the test part."""
    folder = make_folder(root, **options)
    (folder / "train" / "cat" / "001.png").write_text("no image")
    (folder / "test" / "dog" / "000.png").write_bytes((folder / "test" / "dog" / "000.png").read_bytes()[:60])
    return folder


def test_bad_images_are_skipped_only_if_asked_and_all_are_named_each_time(tmp_path):
    folder = damaged_folder(tmp_path / "photos")
    assert "001.png" in error_line(folder)
    for _ in range(2):  # decoded, then from the cache
        lines = []
        dataset = open_dataset(folder, skip_bad_images=True, say=lines.append)
        named = [line for line in lines if line.startswith("skipped: ")]
        assert ["001.png" in named[0], "000.png" in named[1], len(named)] == [True, True, 2]
        assert tuple(named) == dataset.skipped and not any("\n" in line for line in lines)
        assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1] and dataset.test.labels.tolist() == [0, 0, 1]
        for image, seed in zip(dataset.train.images, (0, 2, 100, 101, 102), strict=True):
            np.testing.assert_array_equal(image, picture(seed))
        for image, seed in zip(dataset.test.images, (1000, 1001, 1101), strict=True):
            np.testing.assert_array_equal(image, picture(seed))
    # The cache that was made with the option is not taken without it.
    assert "001.png" in error_line(folder)


def test_without_bad_images_skipping_changes_nothing(tmp_path):
    folder = make_folder(tmp_path / "photos")
    plain, skipping = open_dataset(folder), open_dataset(folder, skip_bad_images=True)
    np.testing.assert_array_equal(plain.train.images, skipping.train.images)
    assert plain.skipped == skipping.skipped == ()


def test_skipping_divides_the_rest_and_takes_the_first_good_images_size(tmp_path):
    folder = make_folder(tmp_path / "all", train=7, test=0, size=(9, 5)) / "train"
    (folder / "cat" / "000.png").write_text("no image")
    dataset = open_dataset(folder, skip_bad_images=True)
    assert dataset.image_size == (9, 5) and len(dataset.train.labels) + len(dataset.test.labels) == 13
    together = np.concatenate([dataset.train.images, dataset.test.images]).reshape(13, -1)
    assert together.any(axis=1).all() and len(np.unique(together, axis=0)) == 13


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_that_would_lose_all_of_its_images_is_refused(tmp_path, part):
    folder = make_folder(tmp_path / "photos")
    for file in (folder / part / "dog").iterdir():
        file.write_text("no image")
    line = error_line(folder, skip_bad_images=True)
    assert str(folder / part / "dog") in line and "no usable image" in line


@pytest.mark.parametrize("fault", [MemoryError(), PermissionError(13, "denied"), OSError(5, "input/output error")])
def test_what_is_the_machines_fault_is_never_skipped(tmp_path, monkeypatch, fault):
    def load(path, size=None):
        try:
            raise fault
        except Exception as error:
            raise ImageError(f"{path} can't be read") from error

    monkeypatch.setattr(image_folder, "load_image", load)
    assert "can't be read" in error_line(make_folder(tmp_path / "photos"), skip_bad_images=True)


def test_empty_class_folder_is_named(tmp_path):
    folder = make_folder(tmp_path / "photos")
    (folder / "train" / "eel").mkdir()
    line = error_line(folder)
    assert "eel" in line and "empty class folder" in line


def test_class_that_only_the_test_part_has_is_named(tmp_path):
    folder = make_folder(tmp_path / "photos")
    save(folder / "test" / "eel" / "0.png", picture(1))
    line = error_line(folder)
    assert "eel" in line and "same classes" in line


def test_folders_of_another_shape_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty folder" in error_line(tmp_path / "empty")
    save(tmp_path / "flat" / "0.png", picture(1))
    assert "not in a class folder" in error_line(tmp_path / "flat")
    save(tmp_path / "only" / "test" / "cat" / "0.png", picture(1))
    assert "no training images" in error_line(tmp_path / "only")
    save(make_folder(tmp_path / "deep") / "train" / "cat" / "more" / "0.png", picture(1))
    assert "more" in error_line(tmp_path / "deep")
    save(tmp_path / "one" / "cat" / "0.png", picture(1))
    assert "at least two" in error_line(tmp_path / "one")


def test_images_that_fit_into_no_memory_are_refused_before_they_are_decoded(tmp_path):
    folder = make_folder(tmp_path / "photos", train=85, test=1)  # 8,657 MB
    assert "at most 8,589 MB are allowed" in error_line(folder, image_size=(4096, 4096))
