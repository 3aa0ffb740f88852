"""Writes small CIFAR-10 archives in the official layout, byte for byte, with the pickles of Python 2."""

import io
import struct
import tarfile
from pathlib import Path

import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def random_batches(records: int = 4, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Five training batches and a test batch: pixels uint8 (records, 3072) plane by plane, labels uint8 (records,)."""
    random = np.random.default_rng(seed)
    return [
        (random.integers(0, 256, (records, 3072), dtype=np.uint8), random.integers(0, 10, records, dtype=np.uint8))
        for _ in range(6)
    ]


def expected_images(pixels: np.ndarray) -> np.ndarray:
    """Records to images, element by element, as the official page describes the layout."""
    images = np.empty((len(pixels), 32, 32, 3), np.uint8)
    for channel in range(3):
        for y in range(32):
            for x in range(32):
                images[:, y, x, channel] = pixels[:, channel * 1024 + y * 32 + x]
    return images


def binary_files(batches) -> dict[str, bytes]:
    """The files of the binary version, by name."""
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    files = {"batches.meta.txt": "".join(f"{label}\n" for label in CLASSES).encode() + b"\n"}
    for name, (pixels, labels) in zip(names, batches, strict=True):
        files[name] = np.concatenate([labels[:, None], pixels], axis=1).tobytes()
    return files


def python_files(batches, pickle=None) -> dict[str, bytes]:
    """The files of the python version; `pickle` (value -> bytes) is Python 2's unless another is given."""
    pickle = pickle or python2_pickle
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    files = {"batches.meta": pickle({"num_cases_per_batch": 10000, "label_names": list(CLASSES), "num_vis": 3072})}
    for number, (name, (pixels, labels)) in enumerate(zip(names, batches, strict=True), start=1):
        title = f"training batch {number} of 5" if number < 6 else "testing batch 1 of 1"
        filenames = [f"image_{index:06d}.png" for index in range(len(labels))]
        files[name] = pickle({"batch_label": title, "labels": labels.tolist(), "data": pixels, "filenames": filenames})
    return files


def write_archive(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    """Writes a .tar.gz with the folder and its files, like the official ones."""
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        for name, content in {"readme.html": b"<html></html>", **files}.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def binary_archive(folder: Path, batches) -> Path:
    return write_archive(folder / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary_files(batches))


def python_archive(folder: Path, batches, pickle=None) -> Path:
    return write_archive(folder / "cifar-10-python.tar.gz", "cifar-10-batches-py", python_files(batches, pickle))


def python2_pickle(value) -> bytes:
    """The output of Python 2's cPickle, protocol 2, for dicts, lists, strings, integers and uint8 arrays."""
    out, memo = [b"\x80\x02"], [0]

    def remember() -> None:
        memo[0] += 1
        out.append(b"q" + bytes([memo[0]]) if memo[0] < 256 else b"r" + struct.pack("<I", memo[0]))

    def write(value) -> None:
        if isinstance(value, dict):
            out.append(b"}")
            remember()
            out.append(b"(")
            for key, item in value.items():
                write(key)
                write(item)
            out.append(b"u")
        elif isinstance(value, list):
            out.append(b"]")
            remember()
            out.append(b"(")
            for item in value:
                write(item)
            out.append(b"e")
        elif isinstance(value, str):
            out.append(b"U" + bytes([len(value)]) + value.encode())
            remember()
        elif isinstance(value, int):
            out.append(b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value))
        else:
            write_array(value)

    def write_array(array: np.ndarray) -> None:
        out.append(b"cnumpy.core.multiarray\n_reconstruct\n")
        remember()
        out.append(b"cnumpy\nndarray\n")
        remember()
        out.append(b"K\x00\x85U\x01b\x87R")
        remember()
        out.append(b"(K\x01M" + struct.pack("<H", array.shape[0]) + b"M" + struct.pack("<H", array.shape[1]) + b"\x86")
        out.append(b"cnumpy\ndtype\n")
        remember()
        out.append(b"U\x02u1K\x00K\x01\x87R")
        remember()
        out.append(b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", array.size))
        out.append(array.tobytes() + b"tb")

    write(value)
    out.append(b".")
    return b"".join(out)
