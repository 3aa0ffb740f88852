"""Reads mutated data sets: `python -m tests.stress.data_files --count 20000 --seed 0`.

HDF5 files in the oldest format, without checksums, and in the newest; CIFAR archives, mutated inside their gzip; pickled batches.
The promises are those of `tests.stress.weights`. HDF5's own library parses HDF5 files: a crash of it counts, too.
"""

import argparse
import functools
import gzip
import io
import random
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np

from minisqx.data import open_dataset
from minisqx.data.cifar10 import read_archive
from minisqx.data.hdf5 import SIGNATURE
from minisqx.data.python_batch import read_pickle
from tests.cifar10_files import binary_files, python2_pickle, python_files, random_batches
from tests.stress.watched import read_all
from tests.stress.weights import NUMBERS, cut, longer, some_bits, some_bytes

IMAGES, LABELS = np.arange(12 * 9 * 8 * 3, dtype=np.uint8).reshape(12, 9, 8, 3), np.arange(12) % 3


@functools.cache
def seeds() -> list[tuple[str, bytes]]:
    """Valid files as (format, content); archives without their gzip."""
    found = []
    for libver, packed, names in (
        ("earliest", False, True),
        ("earliest", True, False),
        ("latest", False, True),
        ("latest", True, True),
    ):
        image = io.BytesIO()
        with h5py.File(image, "w", libver=libver) as file:
            options = {"compression": "gzip", "shuffle": True, "chunks": (3, 9, 8, 3)} if packed else {}
            file.create_dataset("images", data=IMAGES, **options)
            file["labels"], file["test_images"], file["test_labels"] = LABELS.astype("i2"), IMAGES[:2], LABELS[:2]
            file["classes"] = ["ant", "bee", "fly"] if names else np.array(["ant", "bee", "fly"], "S")
        found.append((f"HDF5, {libver}{', gzip' if packed else ''}", image.getvalue()))
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file["images"], file["labels"] = IMAGES, LABELS
    found.append(("HDF5, without a test part", image.getvalue()))
    batches = random_batches(records=2)
    for folder, files in (("cifar-10-batches-bin", binary_files(batches)), ("cifar-10-batches-py", python_files(batches))):
        image = io.BytesIO()
        with tarfile.open(fileobj=image, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        found.append((f"archive, {folder}", image.getvalue()))
    pixels, labels = batches[0]
    found.append(("pickled batch", python2_pickle({"labels": labels.tolist(), "data": pixels})))
    return found


def a_number(whole: bytes, draw: random.Random) -> bytes:
    data, width = bytearray(whole), draw.choice((1, 2, 4, 8))
    at = draw.randrange(len(data) - width)
    data[at : at + width] = (draw.choice(NUMBERS) & (1 << 8 * width) - 1).to_bytes(width, draw.choice(("little", "big")))
    return bytes(data)


def shifted(whole: bytes, draw: random.Random) -> bytes:
    at, length = draw.randrange(len(whole)), draw.choice((1, 2, 8, 512))
    return draw.choice((whole[:at] + whole[at + length :], whole[: at + length] + whole[at:]))


def first_bytes(whole: bytes, draw: random.Random) -> bytes:
    """Mutates the start, which has most of HDF5's structures, tar's header, and a pickle's protocol."""
    size = min(len(whole), draw.choice((100, 800, 4000)))
    return draw.choice((some_bits, some_bytes, a_number))(whole[:size], draw) + whole[size:]


MUTATIONS = (some_bits, some_bytes, a_number, first_bytes, first_bytes, first_bytes, shifted, cut, longer)


def make(seed: int, number: int) -> tuple[str, bytes, bool]:
    """Mutation number `number`, as (format, file, whether it must be refused)."""
    draw = random.Random(f"{seed} {number}")
    name, content = draw.choice(seeds())
    content = draw.choice(MUTATIONS)(content, draw)
    return name, gzip.compress(content, 1) if name.startswith("archive") else content, False


def read(path: Path) -> object:
    start = path.read_bytes()[:8]
    if start.startswith(b"\x1f\x8b"):
        return read_archive(path)
    if start == SIGNATURE:
        return open_dataset(path, say=lambda line: None)
    return read_pickle(path.read_bytes(), "the batch")


def warm_up() -> None:
    """Reads each valid file once, so that nothing is imported later."""
    with TemporaryDirectory() as folder:
        for name, content in seeds():
            Path(folder, "file").write_bytes(gzip.compress(content, 1) if name.startswith("archive") else content)
            read(Path(folder, "file"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warm_up()
    print(f"{options.count} mutated data sets, seed {options.seed}")
    sys.exit(1 if read_all(options.count, functools.partial(make, options.seed), read, "") else 0)


if __name__ == "__main__":
    main()
