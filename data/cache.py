"""Decoded data sets, stored in the cache folder so that the next start is quick.

A source has one cache file, named after its path: a line with the CRC-32 of the rest, a line of JSON, and the raw arrays. The
JSON holds a fingerprint of the source and the content of its files: if that or the checksum differs, the source is decoded
again. The cache is optional: any failure of it costs one line.

Names, sizes and times are not enough: archives and container images have constant times, and two folders that swap names keep
all three. So each start reads all files, which takes a fraction of the time to decode them.
"""

import hashlib
import json
import math
import os
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from minisqx.data.dataset import Part, Say
from minisqx.data.parts import Parts
from minisqx.errors import DataError
from minisqx.machine.folders import cache_root, replace_file
from minisqx.machine.threads import thread_count

_FORMAT = 6  # increase it when decoding or the file format changes
_CHECKSUM_BYTES = 9  # eight hexadecimal digits and a newline
_MAX_JSON_BYTES = 16 << 20
_READ_BYTES = 1 << 20
_GROUP = 100
_MAX_WRITE_SECONDS = 3600  # an unfinished file older than this is abandoned


def content_digests(files: Sequence[Path], max_bytes: int | None = None) -> list[str]:
    """The SHA-256 of each file, read by several threads; for a file of more than `max_bytes` its size instead.

    Raises OSError with the file's name if one can't be read.
    """

    def digest(file: Path) -> str:
        try:
            # Unbuffered: for small files a buffer would cost more than the hash.
            with open(file, "rb", buffering=0) as opened:
                size = os.fstat(opened.fileno()).st_size
                if max_bytes is not None and size > max_bytes:
                    return f"{size} bytes"
                found = hashlib.sha256()
                while piece := opened.read(_READ_BYTES):
                    found.update(piece)
                return found.hexdigest()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from error

    # In groups, since handing a file to a thread takes longer than reading it.
    groups = [files[first : first + _GROUP] for first in range(0, len(files), _GROUP)]
    with ThreadPoolExecutor(thread_count()[0], "minisqx-digests") as pool:
        return [found for group in pool.map(lambda group: [digest(file) for file in group], groups) for found in group]


def cached(source: Path, state: Callable[[], list], decode: Callable[[], Parts], say: Say) -> Parts:
    """The parts that `decode` makes from `source`: from the cache if `state()` is unchanged, else decoded and stored.

    state: returns JSON values that change whenever the decoded parts would.
    """

    def fingerprint() -> str:
        return hashlib.sha256(json.dumps([_FORMAT, place, state()]).encode()).hexdigest()

    place = str(source.resolve())
    try:
        file = cache_root() / "data" / f"{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:24]}.images"
    except OSError as error:
        _say_not_stored(error, say)
        return decode()
    before = fingerprint()
    found = _read(file, before, say)
    if found is None:
        say(f"decoding {str(source)!r}, once")
        found = decode()
        # A file that changed meanwhile may have been decoded in either state.
        after = None
        with suppress(OSError):
            after = fingerprint()
        if after == before:
            _write(file, before, found, say)
        else:
            say(f"{str(source)!r} changed while it was decoded: it will be decoded again at the next start")
    return found


def _say_not_stored(reason: Exception, say: Say) -> None:
    line = " ".join(str(reason).split())
    say(f"decoded data is not cached ({line}); set MINISQX_CACHE to a writable folder to start faster")


def _read(file: Path, fingerprint: str, say: Say) -> Parts | None:
    try:
        with open(file, "rb") as opened:
            expected = int(opened.read(_CHECKSUM_BYTES), 16)
            header = opened.readline(_MAX_JSON_BYTES)
            entries = json.loads(header)
            if entries["fingerprint"] != fingerprint:
                return None
            shapes = entries["parts"].values()
            needed = sum(math.prod(shape) + 8 * shape[0] for shape in shapes)
            if opened.tell() + needed != os.fstat(opened.fileno()).st_size:
                raise DataError("its size is wrong")
            contents = [Part(np.empty(shape, np.uint8), np.empty(shape[0], "<i8")) for shape in shapes]
            arrays = _arrays(contents)
            for array in arrays:
                opened.readinto(memoryview(array).cast("B"))
        if _checksum(header, arrays) != expected:
            raise DataError("its checksum is wrong")
        parts = {
            name: Part(part.images, part.labels, None if given is None else tuple(given))
            for (name, given), part in zip(entries["names"].items(), contents, strict=True)
        }
        return Parts(entries["name"], tuple(entries["classes"]), parts, skipped=tuple(entries["skipped"]))
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        say(f"the cache file {str(file)!r} can't be used ({reason}): decoding the data again")
        return None


def _write(file: Path, fingerprint: str, found: Parts, say: Say) -> None:
    arrays = _arrays(list(found.parts.values()))
    shapes = {name: part.images.shape for name, part in found.parts.items()}
    entries = {
        "fingerprint": fingerprint,
        "name": found.name,
        "classes": found.classes,
        "skipped": found.skipped,
        "parts": shapes,
        "names": {name: part.names for name, part in found.parts.items()},
    }
    header = json.dumps(entries).encode() + b"\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(file.parent)
        replace_file(file, b"%08x\n" % _checksum(header, arrays), header, *(memoryview(array) for array in arrays))
    except OSError as error:
        _say_not_stored(error, say)


def _arrays(parts: list[Part]) -> list[np.ndarray]:
    """The arrays of the parts, in the order and format of the file."""
    return [array for part in parts for array in (np.ascontiguousarray(part.images), np.ascontiguousarray(part.labels, "<i8"))]


def _checksum(header: bytes, arrays: list[np.ndarray]) -> int:
    checksum = zlib.crc32(header)
    for array in arrays:
        checksum = zlib.crc32(array, checksum)
    return checksum


def _remove_leftovers(folder: Path) -> None:
    """Removes unfinished files of killed processes, and files of earlier versions."""
    for pattern in (".minisqx-*.part", "unfinished-*.h5", "[0-9a-f]" * 24 + ".h5"):
        for file in folder.glob(pattern):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _MAX_WRITE_SECONDS:
                    file.unlink()
