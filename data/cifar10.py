"""CIFAR-10 as its authors publish it: the binary and the python version, as an archive or unpacked.

Both have five training batches and one test batch. A record of the binary version is one byte of label and 3,072 bytes of
pixels: the red plane, then green, then blue, each 32 rows of 32. The python version has the same pixels in a pickled array a
batch. An official batch has 10,000 records; fewer are read as well.

Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minisqx.data.dataset import Dataset, Say, check_classes
from minisqx.data.python_batch import read_pickle
from minisqx.errors import DataError

SIDE = 32
_PIXELS = 3 * SIDE * SIDE
_MOST_RECORDS = 10_000
_MOST_FILE_BYTES = 64 << 20
_MOST_ARCHIVE_BYTES = 256 << 20  # unpacked; official archives have 185 MB

Batch = tuple[np.ndarray, np.ndarray]


def _binary_classes(data: bytes, name: str) -> tuple[str, ...]:
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not text; expected a class name a line") from error
    return tuple(line.strip() for line in lines if line.strip())


def _binary_batch(data: bytes, name: str) -> Batch:
    record = 1 + _PIXELS
    if not data or len(data) % record:
        raise DataError(
            f"{name} has {len(data)} bytes; expected a multiple of {record} (a label and {_PIXELS} pixels): get the file again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _python_classes(data: bytes, name: str) -> tuple[str, ...]:
    names = read_pickle(data, name).get("label_names")
    if not isinstance(names, list) or not all(isinstance(label, str) for label in names):
        raise DataError(f"{name} has no list of 'label_names': get the official file")
    return tuple(names)


def _python_batch(data: bytes, name: str) -> Batch:
    content = read_pickle(data, name)
    pixels, labels = content.get("data"), content.get("labels")
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _PIXELS or not len(pixels):
        raise DataError(f"{name} has no 'data' array of shape (N, {_PIXELS}): get the official file")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not all(type(label) is int for label in labels):
        raise DataError(f"{name} has no list of {len(pixels)} integer 'labels': get the official file")
    if not all(0 <= label < 256 for label in labels):
        raise DataError(f"{name} has labels that are no class (0 to 255 fit): get the official file")
    return pixels, np.array(labels, np.int64)


@dataclass(frozen=True)
class _Version:
    """One of the two ways in which CIFAR-10 is published."""

    folder: str
    meta: str
    suffix: str
    read_classes: Callable[[bytes, str], tuple[str, ...]]
    read_batch: Callable[[bytes, str], Batch]

    @property
    def batches(self) -> tuple[str, ...]:
        """File names, the test batch last."""
        return (*(f"data_batch_{number}{self.suffix}" for number in range(1, 6)), f"test_batch{self.suffix}")

    @property
    def files(self) -> tuple[str, ...]:
        return (self.meta, *self.batches)


_BINARY = _Version("cifar-10-batches-bin", "batches.meta.txt", ".bin", _binary_classes, _binary_batch)
_PYTHON = _Version("cifar-10-batches-py", "batches.meta", "", _python_classes, _python_batch)
_VERSIONS = (_BINARY, _PYTHON)


def unpacked_folder(path: Path) -> Path | None:
    """The folder with the unpacked files of CIFAR-10: `path` itself or the archive's folder in it; None if there is neither."""
    for folder in (path, *(path / version.folder for version in _VERSIONS)):
        if any((folder / version.meta).is_file() for version in _VERSIONS):
            return folder
    return None


def read_folder(path: Path) -> Dataset:
    """CIFAR-10 from its unpacked files. Raises DataError where one is missing or damaged."""
    version = next(version for version in _VERSIONS if (path / version.meta).is_file())
    contents = {}
    for name in version.files:
        file = path / name
        if not file.is_file():
            raise DataError(f"{str(path)!r} has no file {name!r}; expected all of {', '.join(version.files)}")
        if file.stat().st_size > _MOST_FILE_BYTES:
            raise DataError(
                f"{str(file)!r} has {file.stat().st_size} bytes, more than a file of CIFAR-10 ever has: get the official file"
            )
        contents[name] = file.read_bytes()
    return _decode(version, contents, str(path))


def open_archive(path: Path, say: Say) -> Dataset:
    """CIFAR-10 from an official archive, decoded once and then kept in the cache folder."""
    from minisqx.data.cache import cached, file_state

    return cached(path, [file_state(path)], lambda: read_archive(path), say)


def read_archive(path: Path) -> Dataset:
    """CIFAR-10 from `cifar-10-binary.tar.gz` or `cifar-10-python.tar.gz`, without unpacking anything to disk.

    Members are taken by their exact name; all others are passed over. Raises DataError for another archive, or a damaged one.
    """
    wanted = {f"{version.folder}/{name}": (version, name) for version in _VERSIONS for name in version.files}
    found: dict[_Version, dict[str, bytes]] = {version: {} for version in _VERSIONS}
    try:
        with gzip.open(path) as stream:
            bounded: Any = _Bounded(stream, str(path))
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                for member in archive:
                    if member.name not in wanted:
                        continue
                    version, name = wanted[member.name]
                    if not member.isreg() or member.size > _MOST_FILE_BYTES or name in found[version]:
                        raise DataError(
                            f"{str(path)!r}: {member.name!r} is not one plain file of a usual size: get the official archive"
                        )
                    file: Any = archive.extractfile(member)
                    found[version][name] = file.read()
            while bounded.read(1 << 20):
                pass  # the checksum of the whole stands at the very end
    except DataError:
        raise
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{str(path)!r} is damaged or cut off ({error}): get the archive again") from error
    version = max(_VERSIONS, key=lambda version: len(found[version]))
    if not found[version]:
        raise DataError(
            f"{str(path)!r} holds no file of {_BINARY.folder}/ or {_PYTHON.folder}/;"
            " expected the official cifar-10-binary.tar.gz or cifar-10-python.tar.gz"
        )
    for name in version.files:
        if name not in found[version]:
            raise DataError(f"{str(path)!r} has no {version.folder}/{name}: get the official archive")
    return _decode(version, found[version], str(path))


class _Bounded:
    """A stream that ends in a DataError where it gives more than an archive of CIFAR-10 may hold."""

    def __init__(self, stream, name: str):
        self._stream = stream
        self._name = name
        self._left = _MOST_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._name!r} unpacks to more than {_MOST_ARCHIVE_BYTES >> 20} MiB: get the official archive")
        return data


def _decode(version: _Version, contents: dict[str, bytes], source: str) -> Dataset:
    meta = f"{source!r}: {version.meta}"
    classes = version.read_classes(contents.pop(version.meta), meta)
    check_classes(meta, classes)
    images, labels = [], []
    for name in version.batches:
        named = f"{source!r}: {name}"
        planes, batch_labels = version.read_batch(contents.pop(name), named)
        if len(planes) > _MOST_RECORDS:
            raise DataError(f"{named} has {len(planes)} images; expected at most {_MOST_RECORDS}: get the official file")
        if batch_labels.max() >= len(classes):
            raise DataError(
                f"{named} has the label {batch_labels.max()}; expected 0 to {len(classes) - 1} for {len(classes)} classes"
            )
        images.append(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        labels.append(batch_labels)
    return Dataset(
        "CIFAR-10",
        classes,
        np.ascontiguousarray(np.concatenate(images[:5])),
        np.concatenate(labels[:5]),
        np.ascontiguousarray(images[5]),
        labels[5],
    )
