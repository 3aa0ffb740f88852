"""CIFAR-10 is read from its official archives and folders as it is, and nothing in them is ever run."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from minisqx.data import cifar10, download, open_dataset
from minisqx.data.python_batch import read_pickle
from minisqx.errors import DataError
from tests.cifar10_files import (
    CLASSES,
    binary_archive,
    binary_files,
    expected_images,
    python2_pickle,
    python_archive,
    python_files,
    random_batches,
    write_archive,
)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))


def check_content(dataset, batches):
    assert dataset.name == "CIFAR-10" and dataset.classes == CLASSES
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches[:5], strict=True))
    np.testing.assert_array_equal(dataset.train.images, expected_images(pixels))
    np.testing.assert_array_equal(dataset.train.labels, labels)
    np.testing.assert_array_equal(dataset.test.images, expected_images(batches[5][0]))
    np.testing.assert_array_equal(dataset.test.labels, batches[5][1])


def write_folder(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def error_line(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_binary_archive_gives_every_pixel_and_label(tmp_path):
    batches = random_batches()
    check_content(open_dataset(binary_archive(tmp_path, batches)), batches)


def test_python_archive_of_python_2_gives_every_pixel_and_label(tmp_path):
    batches = random_batches(seed=1)
    check_content(open_dataset(python_archive(tmp_path, batches)), batches)


def python3_pickle(protocol):
    def write(content):
        keys_of_python_2 = {key.encode(): value for key, value in content.items()} if protocol == 2 else content
        return pickle.dumps(keys_of_python_2, protocol=protocol)

    return write


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_python_archive_written_again_by_python_3_is_read(tmp_path, protocol):
    batches = random_batches(seed=2)
    check_content(open_dataset(python_archive(tmp_path, batches, python3_pickle(protocol))), batches)


def test_array_stored_column_by_column_is_read_in_its_own_order():
    pixels = np.asfortranarray(random_batches()[0][0])
    read = read_pickle(pickle.dumps({"data": pixels}, protocol=2), "batch")
    np.testing.assert_array_equal(read["data"], pixels)


def test_unpacked_folders_are_read(tmp_path):
    batches = random_batches(seed=3)
    check_content(open_dataset(write_folder(tmp_path / "bin", binary_files(batches))), batches)
    check_content(open_dataset(write_folder(tmp_path / "py", python_files(batches))), batches)


def test_folder_that_the_archive_was_unpacked_in_is_read(tmp_path):
    batches = random_batches(seed=4)
    write_folder(tmp_path / "here" / "cifar-10-batches-bin", binary_files(batches))
    check_content(open_dataset(tmp_path / "here"), batches)


def test_folders_beside_the_unpacked_one_are_named_as_not_read(tmp_path):
    write_folder(tmp_path / "here" / "cifar-10-batches-bin", binary_files(random_batches()))
    lines = []
    open_dataset(tmp_path / "here", say=lines.append)
    assert not any("not read" in line for line in lines)
    (tmp_path / "here" / "train" / "cat").mkdir(parents=True)
    open_dataset(tmp_path / "here", say=lines.append)
    assert sum("read as CIFAR-10" in line and "not read: 'train'" in line for line in lines) == 1


def test_second_start_reads_the_cache_and_a_changed_archive_does_not(tmp_path, monkeypatch):
    first, second = random_batches(seed=5), random_batches(records=5, seed=6)
    archive = binary_archive(tmp_path, first)
    open_dataset(archive)
    with monkeypatch.context() as patch:
        patch.setattr(cifar10, "read_archive", lambda path: pytest.fail("decoded again"))
        check_content(open_dataset(archive), first)
    binary_archive(tmp_path, second)
    check_content(open_dataset(archive), second)


class Malicious:
    """Unpickling this would run the function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path, protocol):
    trap = tmp_path / "it ran"
    data = pickle.dumps({"data": Malicious(open, str(trap), "w")}, protocol=protocol)
    pickle.loads(data)["data"].close()
    assert trap.exists(), "the trap itself must work"
    trap.unlink()
    assert "nothing of it was run" in error_line(read_pickle, data, "batch")
    assert not trap.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\nU\x02ls\x85R",  # a function of os
        b"cnumpy\nload\nU\x01x\x85R",  # another function of NumPy
        b"cnumpy.core.multiarray\n_reconstruct\nU\x01x\x85R",  # an admitted name with other arguments
        b"cnumpy\nndarray\n)R",  # an admitted name that official files never call
        b"c_codecs\nencode\nU\x01xU\x05utf_7\x86R",  # another codec
        b"U\x01xU\x01yb",  # state for something that is no array
        b"(K\x01cnumpy\nndarray\no",  # other ways to make an object
        b"cnumpy\nndarray\n)\x81",
        b"(K\x01inumpy\nndarray\n",
        b"\x82\x01",  # the extension registry
        b"U\x01xQ",  # a persistent id
        b"}K\x01K\x02s",  # a key that is no text
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x05\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x01xtb",  # five elements in one byte
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01\x85N\x89U\x01xtb",  # no dtype
        b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R",  # an array of objects
    ],
)
def test_pickle_instructions_that_official_files_do_not_have_are_refused(body):
    data = b"\x80\x02}U\x04data" + body + b"s."
    assert "is not a CIFAR-10 batch" in error_line(read_pickle, data, "batch")


def test_pickle_that_would_be_endless_in_print_is_refused_at_once():
    doubled = b"U\x01x" + b"q\x01h\x01\x86" * 64
    for body in (doubled + b")R", doubled + b"q\x01h\x01\x93", b"cnumpy\nndarray\n" + doubled + b"R"):
        error_line(read_pickle, b"\x80\x02" + body + b".", "batch")


def test_pickle_with_a_huge_memo_number_takes_no_memory():
    data = b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b"."
    assert read_pickle(data, "batch") == {}


def test_truncated_pickle_is_named_as_damaged():
    data = python_files(random_batches())["data_batch_1"]
    for length in (0, 1, 10, 200, len(data) // 2, len(data) - 1):
        assert "batch is" in error_line(read_pickle, data[:length], "batch")


def test_pickle_of_something_else_is_refused():
    assert "list" in error_line(read_pickle, python2_pickle(["airplane"]), "batch")


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("data_batch_3.bin", lambda data: data[:-1], "multiple of 3073"),
        ("data_batch_3.bin", lambda data: b"", "multiple of 3073"),
        ("test_batch.bin", lambda data: b"\x0a" + data[1:], "the label 10; expected 0 to 9"),
        ("batches.meta.txt", lambda data: b"", "list of classes is empty"),
        ("batches.meta.txt", lambda data: b"cat\ncat\n", "listed twice"),
        ("batches.meta.txt", lambda data: b"\xff\xfe\n", "not text"),
    ],
)
def test_damaged_binary_file_is_named(tmp_path, name, change, part):
    files = binary_files(random_batches())
    files[name] = change(files[name])
    line = error_line(open_dataset, write_folder(tmp_path / "bin", files))
    assert name in line and part in line


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("data_batch_2", {"labels": [1]}, "no 'data' array"),
        ("data_batch_2", {"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]}, "no 'data' array"),
        ("data_batch_2", {"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "2 integer 'labels'"),
        ("data_batch_2", {"data": np.zeros((2, 3072), np.uint8), "labels": [1, "2"]}, "2 integer 'labels'"),
        ("data_batch_2", {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}, "the label 10; expected 0 to 9"),
        ("data_batch_2", {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 300]}, "no class"),
        ("batches.meta", {"num_vis": 3072}, "label_names"),
    ],
)
def test_python_file_with_other_content_is_named(tmp_path, name, content, part):
    files = {**python_files(random_batches()), name: python2_pickle(content)}
    line = error_line(open_dataset, write_folder(tmp_path / "py", files))
    assert name in line and part in line


def test_missing_file_is_named(tmp_path):
    files = binary_files(random_batches())
    del files["data_batch_4.bin"]
    assert "data_batch_4.bin" in error_line(open_dataset, write_folder(tmp_path / "bin", files))
    archive = write_archive(tmp_path / "some.tar.gz", "cifar-10-batches-bin", files)
    assert "data_batch_4.bin" in error_line(open_dataset, archive)


def test_archive_cut_off_anywhere_is_refused(tmp_path):
    archive = binary_archive(tmp_path, random_batches())
    whole = archive.read_bytes()
    for length in (3, 12, len(whole) // 2, len(whole) - 4):
        archive.write_bytes(whole[:length])
        assert "damaged or cut off" in error_line(open_dataset, archive)


def test_archive_with_one_flipped_bit_is_refused(tmp_path):
    archive = binary_archive(tmp_path, random_batches())
    whole = archive.read_bytes()
    for place in np.linspace(64, len(whole) - 1, 25).astype(int):  # the first bytes hold a time and a name, without checksum
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        error_line(open_dataset, archive)


def test_archive_of_something_else_is_refused(tmp_path):
    archive = write_archive(tmp_path / "other.tar.gz", "cifar-100-binary", {"train.bin": bytes(3074)})
    assert "expected the official" in error_line(open_dataset, archive)
    not_tar = tmp_path / "text.gz"
    not_tar.write_bytes(gzip.compress(b"no archive at all" * 100))
    assert "damaged" in error_line(open_dataset, not_tar)


def test_only_plain_files_of_the_exact_name_are_taken(tmp_path):
    files = binary_files(random_batches())
    elsewhere = write_archive(tmp_path / "elsewhere.tar.gz", "../cifar-10-batches-bin", files)
    assert "expected the official" in error_line(open_dataset, elsewhere)
    linked = tmp_path / "linked.tar.gz"
    with tarfile.open(linked, "w:gz") as archive:
        entry = tarfile.TarInfo("cifar-10-batches-bin/batches.meta.txt")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    assert "not a regular file" in error_line(open_dataset, linked)


def test_an_archive_that_is_not_official_is_said_to_be_none(tmp_path, monkeypatch):
    archive, lines = binary_archive(tmp_path, random_batches()), []
    open_dataset(archive, say=lines.append)
    assert sum("not an official archive" in line and "\n" not in line for line in lines) == 1
    lines.clear()
    binary_archive(tmp_path, random_batches(seed=9))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(download.OFFICIAL, "cifar-10-binary.tar.gz", digest)
    open_dataset(archive, say=lines.append)
    assert not any("official" in line for line in lines)


def test_archive_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "_MAX_ARCHIVE_BYTES", 1 << 20)
    bomb = tmp_path / "bomb.tar.gz"
    with tarfile.open(bomb, "w:gz", compresslevel=1) as archive:
        entry = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
        entry.size = 8 << 20
        archive.addfile(entry, io.BytesIO(bytes(8 << 20)))
    assert "unpacks to more than 1 MiB" in error_line(open_dataset, bomb)


def test_batch_with_more_records_than_any_official_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "_MAX_RECORDS", 3)
    assert "at most 3" in error_line(open_dataset, binary_archive(tmp_path, random_batches(records=4)))
