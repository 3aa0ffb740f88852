"""Decoded data sets, kept as HDF5 in the cache folder so that a second start is quick.

A source has one cache file, named by its path. Inside stands a fingerprint of the source (names, sizes, times of change) and a
checksum of the arrays: where either differs, the source is decoded again. The cache is never needed: any
fault of it costs one line.
"""

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py

from minisqx.data.dataset import Dataset, Say
from minisqx.data.hdf5 import read_hdf5, write_hdf5
from minisqx.errors import DataError
from minisqx.folders import cache_root

_FORMAT = 1  # raised whenever the same source is to be decoded in another way


def file_state(path: Path) -> tuple:
    """What changes when a file does: name, size in bytes, time of change in ns."""
    state = path.stat()
    return (path.name, state.st_size, state.st_mtime_ns)


def cached(source: Path, state: list, decode: Callable[[], Dataset], say: Say) -> Dataset:
    """The data set that `decode` makes from `source`: from the cache while `state` is the same, else made and kept.

    state: anything that JSON can hold and that changes whenever the decoded data set would.
    """
    place = str(source.resolve())
    file = cache_root() / "data" / f"{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:24]}.h5"
    fingerprint = hashlib.sha256(json.dumps([_FORMAT, place, state]).encode()).hexdigest()
    dataset = _read(file, fingerprint, say)
    if dataset is None:
        say(f"decoding {str(source)!r}, once")
        dataset = decode()
        _write(file, fingerprint, dataset, say)
    return dataset


def _checksum(dataset: Dataset) -> int:
    checksum = 0
    for array in (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels):
        checksum = zlib.crc32(array, checksum)
    return checksum


def _read(file: Path, fingerprint: str, say: Say) -> Dataset | None:
    try:
        if not file.exists():
            return None
        with h5py.File(file, "r") as opened:
            kept, name, checksum = (opened.attrs[key] for key in ("fingerprint", "name", "checksum"))
        if kept != fingerprint:
            return None
        found = read_hdf5(file, say)
        if _checksum(found) != checksum:
            raise DataError("its checksum is wrong")
        return Dataset(name, found.classes, found.train_images, found.train_labels, found.test_images, found.test_labels)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        say(f"the cache file {str(file)!r} can't be used ({' '.join(str(error).split())}): decoding again")
        return None


def _write(file: Path, fingerprint: str, dataset: Dataset, say: Say) -> None:
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix="unfinished-", suffix=".h5")
        os.close(handle)
        attributes = {"fingerprint": fingerprint, "name": dataset.name, "checksum": _checksum(dataset)}
        write_hdf5(dataset, Path(temporary), attributes)
        os.replace(temporary, file)
    except (OSError, RuntimeError) as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        say(f"decoded data is not kept ({reason}); set MINISQX_CACHE to a folder that can be written to start faster")
