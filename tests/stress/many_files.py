"""The time to hash a folder of images: `python -m tests.stress.many_files --count 50000 --repeats 5`.

Creates `count` PNG files of 32 x 32 pixels in ten classes. Prints the CPU seconds of a start that decodes them, of later starts
with decoded data, and of a part of these, reading and hashing every file; for comparison, of reading only sizes and times.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from minisqx.data import open_dataset
from minisqx.data.cache import content_digests


def make(folder: Path, count: int) -> list[Path]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    files = [folder / f"class {number % 10}" / f"{number:06d}.png" for number in range(count)]
    for file, image in zip(files, pixels):
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).resize((32, 32)).save(file)
    return files


def seconds(repeats: int, work: Callable[[], object]) -> str:
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return f"median {np.median(taken):.2f} s, {min(taken):.2f} to {max(taken):.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    open_dataset("shapes", say=lambda line: None)  # import modules before anything is measured
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["MINISQX_CACHE"] = str(Path(temporary, "cache"))
        folder = Path(temporary, "images")
        folder.mkdir()
        files = make(folder, options.count)

        def start() -> None:
            open_dataset(folder, say=lambda line: None)

        print(f"{options.count} files, {sum(file.stat().st_size for file in files) / 1e6:.0f} MB")
        print("first start, which decodes:", seconds(1, start))
        print("later starts:", seconds(options.repeats, start))
        print("content of each file:", seconds(options.repeats, lambda: content_digests(files)))
        print("size and time of each file:", seconds(options.repeats, lambda: [file.stat().st_mtime_ns for file in files]))


if __name__ == "__main__":
    main()
