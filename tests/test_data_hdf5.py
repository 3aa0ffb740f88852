"""HDF5 files are read where they are plain arrays, and refused wherever they reach outside of themselves."""

import threading

import h5py
import numpy as np
import pytest

import minisqx.kernels.counters  # noqa: F401  (compiled code is kept in the cache folder of the first import, not of a test)
from minisqx.data import hdf5, open_dataset
from minisqx.errors import DataError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 9, 8, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def write(path, **content):
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            file[name] = value
    return path


def error_line(path):
    with pytest.raises(DataError) as caught:
        open_dataset(path, say=lambda line: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_parts_are_read_as_they_are(tmp_path):
    path = write(
        tmp_path / "a.h5",
        images=IMAGES[:8],
        labels=LABELS[:8].astype(np.uint8),
        test_images=IMAGES[8:],
        test_labels=LABELS[8:].astype(">i2"),
        classes=["ant", "bee", "fly"],
    )
    dataset = open_dataset(path)
    assert dataset.name == "HDF5 file 'a.h5'" and dataset.classes == ("ant", "bee", "fly")
    np.testing.assert_array_equal(dataset.train.images, IMAGES[:8])
    np.testing.assert_array_equal(dataset.test.images, IMAGES[8:])
    assert dataset.train.labels.tolist() == LABELS[:8].tolist() and dataset.test.labels.tolist() == LABELS[8:].tolist()


@pytest.mark.parametrize("prefix", ["val_", "valid_", "validation_"])
def test_validation_images_are_read_under_each_of_their_names(tmp_path, prefix):
    content = {"images": IMAGES[:6], "labels": LABELS[:6], f"{prefix}images": IMAGES[6:9], f"{prefix}labels": LABELS[6:9]}
    dataset = open_dataset(write(tmp_path / "a.h5", **content, test_images=IMAGES[9:], test_labels=LABELS[9:]))
    np.testing.assert_array_equal(dataset.validation.images, IMAGES[6:9])
    assert dataset.validation.labels.tolist() == LABELS[6:9].tolist() and len(dataset.train.labels) == 6


def test_what_is_not_read_is_named_in_a_line(tmp_path):
    content = {"images": IMAGES, "labels": LABELS, "masks": IMAGES, "more": LABELS}
    lines = []
    open_dataset(write(tmp_path / "a.h5", **content), say=lines.append)
    assert sum("not read: 'masks', 'more';" in line for line in lines) == 1
    open_dataset(write(tmp_path / "b.h5", images=IMAGES, labels=LABELS, classes=["a", "b", "c"]), say=lines.append)
    assert sum("not read" in line for line in lines) == 1


def test_names_of_fixed_length_and_packed_arrays_are_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=IMAGES, compression="gzip", shuffle=True)
        file["labels"], file["classes"] = LABELS, np.array(["ant", "bee", "fly"], "S")
    assert open_dataset(path).classes == ("ant", "bee", "fly")


def test_without_a_test_part_a_sixth_is_set_aside_and_classes_get_numbers(tmp_path):
    lines = []
    dataset = open_dataset(write(tmp_path / "a.h5", images=IMAGES, labels=LABELS), say=lines.append)
    assert dataset.classes == ("0", "1", "2") and len(dataset.train.labels) == 9
    assert sorted(dataset.test.labels) == [0, 1, 2], "a sixth of four images is less than one, which each class gives"
    assert any("set aside" in line for line in lines)
    for image, label in zip(dataset.test.images, dataset.test.labels, strict=True):
        assert any((image == IMAGES[index]).all() and LABELS[index] == label for index in range(12))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"labels": LABELS}, "no data set 'images'"),
        ({"images": IMAGES}, "no data set 'labels'"),
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, "uint8 (N, height, width, 3)"),
        ({"images": IMAGES[..., 0], "labels": LABELS}, "uint8 (N, height, width, 3)"),
        ({"images": IMAGES[..., :2], "labels": LABELS}, "uint8 (N, height, width, 3)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no image"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "one per image"),
        ({"images": IMAGES, "labels": LABELS.astype(np.float64)}, "integers (N,)"),
        ({"images": IMAGES, "labels": LABELS - 1}, "label -1"),
        ({"images": IMAGES, "labels": LABELS + 2**40}, "too large"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["a", "b"]}, "label 2; expected 0 to 1"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["a", "b", "a"]}, "twice"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["a", "b", "c\nd"]}, "can't be the name"),
        ({"images": IMAGES, "labels": LABELS, "classes": [1, 2, 3]}, "list of names"),
        ({"images": IMAGES, "labels": LABELS, "test_images": IMAGES}, "no data set 'test_labels'"),
        ({"images": IMAGES, "labels": LABELS, "test_images": IMAGES[:, :8], "test_labels": LABELS}, "one size"),
        ({"images": IMAGES, "labels": LABELS, "val_images": IMAGES, "valid_images": IMAGES}, "expected one of them"),
        ({"images": IMAGES, "labels": LABELS, "val_images": IMAGES}, "no data set 'val_labels'"),
        ({"images": IMAGES, "labels": LABELS, "val_images": IMAGES[:, :8], "val_labels": LABELS}, "one size"),
        ({"test_images": IMAGES, "test_labels": LABELS}, "'images' and 'labels' in an HDF5 file"),
        ({"images/more": IMAGES, "labels": LABELS}, "a link or a group"),
    ],
)
def test_content_of_another_kind_is_named(tmp_path, content, part):
    assert part in error_line(write(tmp_path / "a.h5", **content))


def test_links_are_refused(tmp_path):
    write(tmp_path / "other.h5", images=IMAGES)
    for link in (h5py.SoftLink("/labels"), h5py.SoftLink("/hidden"), h5py.ExternalLink(str(tmp_path / "other.h5"), "images")):
        path = write(tmp_path / "a.h5", labels=LABELS, hidden=IMAGES, images=link)
        assert "link" in error_line(path)


def test_bytes_that_lie_in_another_file_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(IMAGES.tobytes())
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", IMAGES.shape, np.uint8, external=[(str(secret), 0, IMAGES.nbytes)])
        file["labels"] = LABELS
    assert "another file" in error_line(path)
    write(tmp_path / "other.h5", images=IMAGES)
    with h5py.File(path, "w") as file:
        plan = h5py.VirtualLayout(IMAGES.shape, np.uint8)
        plan[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "images", IMAGES.shape)
        file.create_virtual_dataset("images", plan)
        file["labels"] = LABELS
    assert "another file" in error_line(path)


def test_objects_and_foreign_filters_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["images"] = IMAGES
        file.create_dataset("labels", (12,), h5py.vlen_dtype(np.int64))
    assert "integers (N,)" in error_line(path)
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = IMAGES, LABELS
        file.create_dataset("classes", (3,), h5py.ref_dtype)
    assert "list of names" in error_line(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=IMAGES, compression="lzf")
        file["labels"] = LABELS
    assert "filters" in error_line(path)


def test_a_file_that_asks_for_a_plug_in_finds_no_folder_with_any(tmp_path, monkeypatch):
    before = [h5py.h5pl.get(number) for number in range(h5py.h5pl.size())]
    path, folders, opened = write(tmp_path / "a.h5", images=IMAGES, labels=LABELS), [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda *given: folders.append(h5py.h5pl.size()) or opened(*given))
    open_dataset(path, say=lambda line: None)
    (tmp_path / "b.h5").write_bytes(hdf5.SIGNATURE)
    error_line(tmp_path / "b.h5")
    assert before and folders == [0, 0]
    assert [h5py.h5pl.get(number) for number in range(h5py.h5pl.size())] == before


def test_other_threads_never_read_without_the_folders_of_plug_ins(tmp_path):
    path, folders = write(tmp_path / "a.h5", images=IMAGES, labels=LABELS), []

    def other():
        with h5py.File(path, "r"):
            folders.append(h5py.h5pl.size())

    thread = threading.Thread(target=other)
    with hdf5._without_plugins():
        thread.start()
        thread.join(0.2)
        assert not folders
    thread.join()
    assert folders == [h5py.h5pl.size()] != [0]


def test_what_is_declared_and_not_in_the_file_is_refused_unread(tmp_path):
    path = tmp_path / "a.h5"
    for shape, chunks in ((10**6, 1000, 1000, 3), None), ((12, 9, 8, 3), None), ((12, 9, 8, 3), (1, 9, 8, 3)):
        with h5py.File(path, "w") as file:
            file.create_dataset("images", shape, np.uint8, chunks=chunks)  # takes no room in the file
            file["labels"] = np.zeros(shape[0], np.uint8)
        assert "0 are in the file" in error_line(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (12, 9, 8, 3), np.uint8, chunks=(4, 9, 8, 3))[:8] = IMAGES[:8]  # two of three chunks
        file["labels"] = LABELS
    assert "should have 2592 bytes, but 1728 are" in error_line(path)


def test_one_chunk_that_claims_more_than_all_is_refused_unread(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = {"chunks": (1, 4000, 4000, 3), "maxshape": (12, 4000, 4000, 3), "compression": "gzip"}
        file.create_dataset("images", (1, 8, 8, 3), np.uint8, **options)[...] = 1
        file["labels"] = LABELS[:1]
    assert "'images' should have" in error_line(tmp_path / "a.h5")


def test_more_bytes_than_a_data_set_may_have_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_BYTES", 1000)
    assert "at most" in error_line(write(tmp_path / "a.h5", images=IMAGES, labels=LABELS))


def test_names_of_any_length_are_read_wherever_their_heaps_are(tmp_path):
    names = [f"{number} " + "ä" * (number % 300) for number in range(700)]
    path = write(tmp_path / "a.h5", images=IMAGES, labels=LABELS, classes=names)
    assert open_dataset(path, say=lambda line: None).classes == tuple(names)


def test_a_heap_of_names_in_which_hdf5s_library_would_never_end_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", images=IMAGES, labels=LABELS, classes=["ant", "bee", "fly"])
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    for damage in (b"\x09", b"\x00\x00\x00\x00\x00\x00\x00\x00" + b"\xff" * 8):  # another object's number; a size
        damaged = bytearray(content)
        damaged[at : at + len(damage)] = damage
        path.write_bytes(damaged)
        assert "damaged" in error_line(path)


def test_an_endless_class_name_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", images=IMAGES, labels=LABELS, classes=["ant", "b" * 2000, "fly"])
    assert "2000 bytes" in error_line(path)


def test_file_cut_off_anywhere_is_refused(tmp_path):
    whole = write(tmp_path / "a.h5", images=IMAGES, labels=LABELS).read_bytes()
    for length in (8, 100, 900, len(whole) // 2, len(whole) - 1):
        (tmp_path / "b.h5").write_bytes(whole[:length])
        assert "damaged or cut off" in error_line(tmp_path / "b.h5")
