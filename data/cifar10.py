"""CIFAR-10 as its authors publish it: the binary and the python version, as an archive or unpacked.

Both have five training batches and one test batch. A record of the binary version is one byte of label and 3,072 bytes of
pixels: the red plane, then green, then blue, each of 32 rows of 32. The python version has the same pixels as one pickled array
per batch. An official batch has 10,000 records; smaller ones are read, too.

An archive is untrusted input: it is read as a stream, its members must be the official ones and regular files, and nothing is
written to disk. The official archives are recognised by their SHA-256; any other gets a line that says it is not official.

Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minisqx.data.dataset import Dataset, Part, Say, check_classes
from minisqx.data.parts import Parts
from minisqx.data.python_batch import MAX_PICKLE_BYTES, read_pickle
from minisqx.errors import DataError

SIDE = 32
_PIXELS = 3 * SIDE * SIDE
_MAX_RECORDS = 10_000
_MAX_META_BYTES = 64 << 10
_MAX_ARCHIVE_BYTES = 256 << 20  # unpacked; official archives have 185 MB
_TAR_BLOCK = 512
_READ_BYTES = 1 << 20

Batch = tuple[np.ndarray, np.ndarray]


def _binary_classes(data: bytes, name: str) -> tuple[str, ...]:
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not text; expected one class name per line") from error
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
    """One of the two published formats of CIFAR-10."""

    folder: str
    meta: str
    suffix: str
    max_batch_bytes: int
    read_classes: Callable[[bytes, str], tuple[str, ...]]
    read_batch: Callable[[bytes, str], Batch]

    @property
    def batches(self) -> tuple[str, ...]:
        """File names, the test batch last."""
        return (*(f"data_batch_{number}{self.suffix}" for number in range(1, 6)), f"test_batch{self.suffix}")

    @property
    def files(self) -> tuple[str, ...]:
        return (self.meta, *self.batches)

    def max_bytes(self, name: str) -> int:
        """The size limit of a file."""
        return self.max_batch_bytes if name in self.batches else _MAX_META_BYTES


_BINARY = _Version(
    "cifar-10-batches-bin", "batches.meta.txt", ".bin", _MAX_RECORDS * (1 + _PIXELS), _binary_classes, _binary_batch
)
_PYTHON = _Version("cifar-10-batches-py", "batches.meta", "", MAX_PICKLE_BYTES, _python_classes, _python_batch)
_VERSIONS = (_BINARY, _PYTHON)


def unpacked_folder(path: Path) -> Path | None:
    """The folder with CIFAR-10's unpacked files: `path` or the archive's folder in it; None if neither has them."""
    for folder in (path, *(path / version.folder for version in _VERSIONS)):
        if any((folder / version.meta).is_file() for version in _VERSIONS):
            return folder
    return None


def read_folder(path: Path) -> Dataset:
    """CIFAR-10 from its unpacked files. Raises DataError if one is missing or damaged."""
    version = next(version for version in _VERSIONS if (path / version.meta).is_file())
    contents = {}
    for name in version.files:
        file = path / name
        if not file.is_file():
            raise DataError(f"{str(path)!r} has no file {name!r}; expected all of {', '.join(version.files)}")
        _check_size(version, name, file.stat().st_size, repr(str(file)))
        contents[name] = file.read_bytes()
    return _decode(version, contents, str(path))


def open_archive(path: Path, say: Say) -> Parts:
    """CIFAR-10 from an archive, decoded once and then cached."""
    from minisqx.data.cache import cached, content_digests
    from minisqx.data.download import OFFICIAL

    def decode() -> Parts:
        [found] = content_digests([path])
        if found not in OFFICIAL.values():
            say(f"{str(path)!r} is not an official archive of CIFAR-10 (its SHA-256 is {found}): reading it anyway")
        return Parts.of(read_archive(path))

    return cached(path, lambda: content_digests([path]), decode, say)


def read_archive(path: Path) -> Dataset:
    """CIFAR-10 from `cifar-10-binary.tar.gz` or `cifar-10-python.tar.gz`, without unpacking anything to disk.

    Raises DataError if it is damaged or has other members.
    """
    found: dict[_Version, dict[str, bytes]] = {version: {} for version in _VERSIONS}
    try:
        with gzip.open(path) as stream:
            for version, name, content in _members(_Bounded(stream, str(path)), str(path)):
                if name in found[version]:
                    raise DataError(f"{str(path)!r}: {name!r} is in it twice: get the official archive")
                found[version][name] = content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{str(path)!r} is damaged or cut off ({error}): get the archive again") from error
    if all(found.values()):
        raise DataError(f"{str(path)!r} holds both versions of CIFAR-10: expected one of the official archives")
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


def _members(stream: "_Bounded", source: str) -> Iterator[tuple[_Version, str, bytes]]:
    """The data files, with their content, of a tar archive that holds nothing but them, their folder and a readme.

    Only the original tar headers are supported: names of 100 bytes, sizes in octal digits, files and folders. Later extensions
    (long names, links, devices, sparse files, extended headers) are refused. Raises DataError.
    """
    wanted = {f"{version.folder}/{name}": (version, name) for version in _VERSIONS for name in version.files}
    others = {f"{version.folder}/{name}" for version in _VERSIONS for name in ("", "readme.html")}
    while any(header := stream.read_all(_TAR_BLOCK)):
        name, size = header[:100].rstrip(b"\0").decode("latin-1"), _octal(header[124:136], source)
        # The checksum is the sum of the header's bytes, with the checksum field itself as blanks.
        if sum(header) - sum(header[148:156]) + 8 * ord(" ") != _octal(header[148:156], source):
            raise DataError(f"{source!r} is damaged: a tar header has a wrong checksum: get the archive again")
        entry_type = header[156:157]
        if name not in wanted and name.rstrip("/") + "/" not in others and name not in others:
            raise DataError(f"{source!r} holds {name!r}, which is not part of CIFAR-10: expected the official archive")
        if entry_type not in (b"0", b"\0") and (entry_type, size) != (b"5", 0):
            raise DataError(f"{source!r}: {name!r} is not a regular file: get the official archive")
        if name in wanted:
            version, file = wanted[name]
            _check_size(version, file, size, f"{source!r}: {name!r}")
            yield version, file, stream.read_all(size)
        else:
            stream.skip(size)
        stream.skip(-size % _TAR_BLOCK)
    stream.check_rest_is_zero()


def _octal(field: bytes, source: str) -> int:
    digits = field.strip(b"\0 ")
    if not digits or digits.strip(b"01234567"):
        raise DataError(
            f"{source!r} is damaged or not a plain tar archive (a number in a header is {field!r}): get the official one"
        )
    return int(digits, 8)


def _check_size(version: _Version, name: str, size: int, shown: str) -> None:
    if size > version.max_bytes(name):
        raise DataError(f"{shown} has {size} bytes; expected at most {version.max_bytes(name)}: get the official file")


class _Bounded:
    """A stream that raises DataError once it exceeds the size limit of a CIFAR-10 archive."""

    def __init__(self, stream, name: str):
        self._stream = stream
        self._name = name
        self._left = _MAX_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(f"{self._name!r} unpacks to more than {_MAX_ARCHIVE_BYTES >> 20} MiB: get the official archive")
        return data

    def read_all(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise DataError(f"{self._name!r} is damaged or cut off (its tar archive has no end): get the archive again")
        return data

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.read_all(min(size, _READ_BYTES)))

    def check_rest_is_zero(self) -> None:
        """Reads to the end of the gzip stream, where its checksum is verified."""
        while data := self.read(_READ_BYTES):
            if any(data):
                raise DataError(f"{self._name!r} has data after the end of its tar archive: get the official archive")


def _decode(version: _Version, contents: dict[str, bytes], source: str) -> Dataset:
    meta = f"{source!r}: {version.meta}"
    classes = version.read_classes(contents.pop(version.meta), meta)
    check_classes(meta, classes)
    images, labels = [], []
    for name in version.batches:
        named = f"{source!r}: {name}"
        planes, batch_labels = version.read_batch(contents.pop(name), named)
        if len(planes) > _MAX_RECORDS:
            raise DataError(f"{named} has {len(planes)} images; expected at most {_MAX_RECORDS}: get the official file")
        if batch_labels.max() >= len(classes):
            raise DataError(
                f"{named} has the label {batch_labels.max()}; expected 0 to {len(classes) - 1} for {len(classes)} classes"
            )
        images.append(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        labels.append(batch_labels)
    names = [f"{name}[{at}]" for name, batch in zip(version.batches, labels) for at in range(len(batch))]
    trained = sum(map(len, labels[:5]))
    train = Part(np.ascontiguousarray(np.concatenate(images[:5])), np.concatenate(labels[:5]), tuple(names[:trained]))
    return Dataset("CIFAR-10", classes, train, Part(np.ascontiguousarray(images[5]), labels[5], tuple(names[trained:])))
