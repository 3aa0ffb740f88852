"""Decoded data sets, kept in the cache folder so that a second start is quick.

A source has one cache file, named by its path: a line with a checksum of all that follows (CRC-32), a line of JSON, and the
arrays as they are. In the JSON stands a fingerprint of the source (names, sizes, times of change): where that or the checksum
differs, the source is decoded again. The cache is never needed: any fault of it costs one line.
"""

import hashlib
import json
import math
import os
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from minisqx.data.dataset import Dataset, Say
from minisqx.errors import DataError
from minisqx.folders import cache_root, replace_file

_FORMAT = 3  # raised whenever the same source is to be decoded in another way, or kept in another
_CHECKSUM_BYTES = 9  # eight hexadecimal digits and the end of the line
_MOST_JSON_BYTES = 16 << 20
_OLD = 3600  # seconds after which a file that is still not finished never will be


def file_state(path: Path) -> tuple:
    """What changes when a file does: name, size in bytes, time of change in ns."""
    state = path.stat()
    return (path.name, state.st_size, state.st_mtime_ns)


def cached(source: Path, state: list, decode: Callable[[], Dataset], say: Say) -> Dataset:
    """The data set that `decode` makes from `source`: from the cache while `state` is the same, else made and kept.

    state: anything that JSON can hold and that changes whenever the decoded data set would.
    """
    place = str(source.resolve())
    fingerprint = hashlib.sha256(json.dumps([_FORMAT, place, state]).encode()).hexdigest()
    try:
        file = cache_root() / "data" / f"{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:24]}.images"
    except OSError as error:
        _not_kept(error, say)
        return decode()
    dataset = _read(file, fingerprint, say)
    if dataset is None:
        say(f"decoding {str(source)!r}, once")
        dataset = decode()
        _write(file, fingerprint, dataset, say)
    return dataset


def _not_kept(reason: Exception, say: Say) -> None:
    line = " ".join(str(reason).split())
    say(f"decoded data is not kept ({line}); set MINISQX_CACHE to a folder that can be written to start faster")


def _read(file: Path, fingerprint: str, say: Say) -> Dataset | None:
    try:
        with open(file, "rb") as opened:
            expected = int(opened.read(_CHECKSUM_BYTES), 16)
            header = opened.readline(_MOST_JSON_BYTES)
            entries = json.loads(header)
            if entries["fingerprint"] != fingerprint:
                return None
            needed = sum(math.prod(shape) + 8 * shape[0] for shape in entries["shapes"])
            if opened.tell() + needed != os.fstat(opened.fileno()).st_size:
                raise DataError("its size is wrong")
            arrays = []
            for shape in entries["shapes"]:
                arrays += [np.empty(shape, np.uint8), np.empty(shape[0], "<i8")]
            for array in arrays:
                opened.readinto(memoryview(array).cast("B"))
        if _checksum(header, arrays) != expected:
            raise DataError("its checksum is wrong")
        train_images, train_labels, test_images, test_labels = arrays
        return Dataset(
            entries["name"], tuple(entries["classes"]), train_images, train_labels, test_images, test_labels,
            skipped=tuple(entries["skipped"]),
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        say(f"the cache file {str(file)!r} can't be used ({reason}): decoding again")
        return None


def _write(file: Path, fingerprint: str, dataset: Dataset, say: Say) -> None:
    arrays = []
    for images, labels in ((dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)):
        arrays += [np.ascontiguousarray(images), np.ascontiguousarray(labels, "<i8")]
    shapes = [dataset.train_images.shape, dataset.test_images.shape]
    entries = {"fingerprint": fingerprint, "name": dataset.name, "classes": dataset.classes, "shapes": shapes}
    entries["skipped"] = dataset.skipped
    header = json.dumps(entries).encode() + b"\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _sweep(file.parent)
        replace_file(file, b"%08x\n" % _checksum(header, arrays), header, *(memoryview(array) for array in arrays))
    except OSError as error:
        _not_kept(error, say)


def _checksum(header: bytes, arrays: list[np.ndarray]) -> int:
    checksum = zlib.crc32(header)
    for array in arrays:
        checksum = zlib.crc32(array, checksum)
    return checksum


def _sweep(folder: Path) -> None:
    """Removes what a process left behind that was ended while it wrote here, and what earlier versions kept."""
    for pattern in (".minisqx-*.part", "unfinished-*.h5", "[0-9a-f]" * 24 + ".h5"):
        for file in folder.glob(pattern):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _OLD:
                    file.unlink()
