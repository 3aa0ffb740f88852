"""Kills a bulk inference of several ranks again and again: `python -m tests.stress.bulk --images 10000 --kills 5`.

One rank is killed by `kill -9` when a random number of rows are there, and the command begins again on some number of ranks.
Expected: at the end each image has one row, and the file has the bytes of the one that a single process writes.
"""

import argparse
import csv
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from minisqx.images.pillow import Image
from tests import mpi_runs
from tests.stress.runs import Count, generator

RANKS = (2, 3, 4)


def write_images(folder: Path, count: int) -> Path:
    """PNG files of 40 x 30 pixels in folders of 1,000; every 1,000th is broken."""
    random = np.random.default_rng(0)
    for number in range(count):
        file = folder / f"{number // 1000:03}" / f"{number:06}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number % 1000 == 500:
            file.write_bytes(b"no image")
        else:
            Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(file, compress_level=1)
    return folder


def children(process: subprocess.Popen) -> list[int]:
    """The ranks of an mpiexec."""
    found, waiting = [], [process.pid]
    while waiting:
        number = waiting.pop()
        try:
            below = Path(f"/proc/{number}/task/{number}/children").read_text().split()
            if b"minisqx" in Path(f"/proc/{number}/cmdline").read_bytes() and number != process.pid and not below:
                found.append(number)
        except OSError:
            continue
        waiting += map(int, below)
    return found


def rows_of(out: Path) -> int:
    """The rows in the shards that are not joined yet."""
    return sum(file.read_bytes().count(b"\n") for file in Path(f"{out}.shards").glob("*.part"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.bulk", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, metavar="N")
    parser.add_argument("--kills", type=int, default=5, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments")
    chosen = parser.parse_args(arguments)
    if mpi_runs.missing():
        raise SystemExit(mpi_runs.missing())
    random, count = generator(chosen.seed), Count("bulk inferences with each image once and the bytes of one process")
    with tempfile.TemporaryDirectory(prefix="minisqx-bulk-") as name:
        images, alone, out = write_images(Path(name) / "images", chosen.images), Path(name) / "alone.csv", Path(name) / "out.csv"
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "minisqx", "infer", str(images), "--csv", str(alone), "--threads", "2"], check=False
        )
        took = time.monotonic() - began
        print(f"one process of 2 threads: {took:.1f} s, {chosen.images / took:.0f} images a second")
        faults, kills = [], 0
        while True:
            ranks = random.choice(RANKS)
            process = mpi_runs.start((ranks, ("minisqx", "infer", "--bulk", images, "--out", out, "--threads", 1)))
            if kills < chosen.kills:
                left = chosen.images - rows_of(out)
                target = chosen.images - left + random.randint(1, max(1, left // (chosen.kills + 1 - kills)))
                while process.poll() is None and rows_of(out) < target:
                    time.sleep(0.02)
                victims = children(process)
                if process.poll() is None and victims:
                    os.kill(random.choice(victims), signal.SIGKILL)
                    kills += 1
            output, errors = process.communicate(timeout=240)
            print(f"{ranks} ranks ended with {process.returncode}, {rows_of(out)} rows in shards", flush=True)
            if out.exists():
                break
            if process.returncode == 0 or not kills:
                faults.append(f"no file: {output + errors}")
                break
        if out.exists():
            with out.open(newline="") as file:
                _, *found = csv.reader(file)
            names = [row[0] for row in found]
            if len(names) != chosen.images or len(set(names)) != chosen.images:
                faults.append(f"{len(names)} rows of {len(set(names))} images")
            if out.read_bytes() != alone.read_bytes():
                faults.append("other bytes than those of one process")
            if kills < chosen.kills:
                faults.append(f"all ended after {kills} kills")
            print(f"{len(names)} rows, {sum(bool(row[-1]) for row in found)} of broken images, {kills} kills")
        count.add("bulk", faults)
    print(f"the largest process had {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")
    return count.end()


if __name__ == "__main__":
    sys.exit(main())
