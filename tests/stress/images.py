"""Reads mutated images: `python -m tests.stress.images --count 100000 --seed 1`. Linux only.

Every image is made from the seed and its number, written to a file and read by a child process. Faults are: a child that crashes
or is silent for 30 seconds, more than 2 seconds of CPU time or more than 256 MB of memory (of the whole process) for an image, an
error that is not an ImageError or not one line, an array that is not an image, another outcome when the file is read at a small
size, output of Python code on stderr, and any file, process or connection that is opened meanwhile. Exits with 1 if there was a
fault; `--only NUMBER` writes that image to a file. Lines that the C library libtiff writes to stderr are only counted: Python
can't prevent them.
"""

import argparse
import collections
import io
import os
import random
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from minisqx.errors import ImageError
from minisqx.images.load import FORMATS, load_image
from tests.stress.image_memory import peak_memory
from tests.stress.image_mutations import mutate, samples

# So small that a JPEG is decoded at a fraction of its size.
SMALL = (1, 1)
MAX_SECONDS = 2.0
MAX_MEMORY = 256_000_000
PATIENCE = 30  # seconds
# Audit events of opening something; imports of Python's and Pillow's modules are allowed.
OPENING = ("open", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "ctypes.dlopen")


def make(seed: int, number: int, found: list) -> tuple[str, bytes]:
    """The name of a sample and the mutated content. All formats are equally likely."""
    rng = random.Random(f"{seed} {number}")
    chosen = rng.choice(FORMATS)
    name, content = rng.choice([sample for sample in found if format_of(sample[0]) == chosen])
    return name, mutate(content, rng)


def format_of(name: str) -> str:
    """The format in the name of a sample."""
    first = name.replace(",", " ").split()[0].upper()
    return first if first in FORMATS else "PPM"


class Watch:
    """Records what is opened while `path` is read, other than `path`."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if self.path is None or event not in OPENING:
            return
        what = str(arguments[0]) if arguments else ""
        if event == "open" and (what == self.path or what.startswith((sys.base_prefix, sys.prefix))):
            return
        self.seen.append(f"{event} {what}")


def outcome_at_small_size(path: str) -> str:
    """The message that refuses the file at that size, or ""."""
    try:
        load_image(path, SMALL)
    except ImageError as error:
        return str(error)
    return ""


def read_one(path: str, watch: Watch) -> tuple[str, str]:
    """(outcome, fault or "")."""
    descriptors = len(os.listdir("/proc/self/fd"))
    watch.path, watch.seen = path, []
    fault = ""
    sys.stderr = io.StringIO()
    try:
        image = load_image(path)
        outcome = "read"
        if image.dtype != "uint8" or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            fault = f"read as {image.dtype} {image.shape}"
        del image
        load_image(path, SMALL)
    except ImageError as error:
        text = str(error)
        reasons = (
            "is not an image",
            "damaged or incomplete",
            "that isn't read",
            "pixels",
            "an empty file",
            "scans",
            "parts",
            "memory",
        )
        outcome = "refused: " + next((reason for reason in reasons if reason in text.replace(path, "")), "else")
        if outcome_at_small_size(path) != text:
            fault = f"refused with {text!r}, but not at a small size"
        if "\n" in text:
            fault = f"an error of several lines: {text!r}"
    except BaseException as error:
        outcome, fault = "another error", f"{type(error).__name__}: {error}"
    watch.path = None
    said, sys.stderr = sys.stderr.getvalue(), sys.__stderr__
    if said:
        fault = f"on stderr: {' '.join(said.split())}"
    elif watch.seen:
        fault = "; ".join(watch.seen)
    elif len(os.listdir("/proc/self/fd")) != descriptors:
        fault = "a file is left open"
    return outcome, fault


def work(first: int, last: int, seed: int, folder: str) -> None:
    """The child process: prints a line for every image."""
    found, path, watch = samples(), str(Path(folder) / "image"), Watch()
    for _, content in found:
        Path(path).write_bytes(content)
        load_image(path)
        load_image(path, SMALL)
    for number in range(first, last):
        name, content = make(seed, number, found)
        Path(path).write_bytes(content)
        peak_memory(reset=True)
        start = time.process_time()
        outcome, fault = read_one(path, watch)
        seconds, memory = time.process_time() - start, peak_memory()
        if seconds > MAX_SECONDS:
            fault = fault or f"{seconds:.1f} seconds"
        if memory > MAX_MEMORY:
            fault = fault or f"{memory / 1e6:.0f} MB"
        print(number, format_of(name), outcome, f"{seconds:.4f}", memory, fault, sep="\t", flush=True)


def run(count: int, seed: int, first: int = 0) -> int:
    """Reads `count` images from number `first` on, prints the counts, and returns the number of faults."""
    outcomes, faults = collections.Counter(), []
    slowest, largest = (0.0, -1), (0, -1)
    remarks = 0
    started, number, last = time.monotonic(), first, first + count
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        while number < last:
            command = [sys.executable, "-m", "tests.stress.images", "--worker", str(number), str(last), str(seed), folder]
            errors = Path(folder) / "errors"
            with open(errors, "wb") as stderr, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as child:
                for line in _lines(child):
                    place, image_format, outcome, seconds, memory, fault = line.rstrip("\n").split("\t")
                    number = int(place) + 1
                    outcomes[image_format, outcome] += 1
                    slowest, largest = max(slowest, (float(seconds), int(place))), max(largest, (int(memory), int(place)))
                    if fault:
                        faults.append(f"{place}: {fault}")
            said = errors.read_text(errors="replace").splitlines()
            if number < last:
                outcomes["none", "crashed or hung"] += 1
                faults.append(f"{number}: the child ended with {child.returncode}: {' '.join(said)[-500:]}")
                number += 1
            else:
                remarks += len(said)
    names = sorted({outcome for _, outcome in outcomes})
    for image_format in sorted({image_format for image_format, _ in outcomes}):
        row = {name: outcomes[image_format, name] for name in names if outcomes[image_format, name]}
        print(f"{image_format:6}" + "".join(f"  {name}: {value}" for name, value in row.items()))
    totals = collections.Counter()
    for (_, outcome), value in outcomes.items():
        totals[outcome] += value
    print("all   " + "".join(f"  {name}: {value}" for name, value in sorted(totals.items())))
    print(f"lines that libtiff wrote to stderr: {remarks}")
    print(f"slowest: {slowest[0]:.2f} s of CPU time (number {slowest[1]})")
    print(f"largest: {largest[0] / 1e6:.0f} MB in the whole process (number {largest[1]})")
    print(f"{sum(totals.values())} mutated images, seed {seed}, {time.monotonic() - started:.0f} s: {len(faults)} faults")
    for fault in faults[:50]:
        print("FAULT", fault)
    return len(faults)


def _lines(child: subprocess.Popen):
    """The child's lines; it is killed after `PATIENCE` seconds of silence."""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        rest = b""
        while True:
            if not selector.select(PATIENCE):
                child.kill()
                return
            part = os.read(child.stdout.fileno(), 65536)
            if not part:
                return
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line.decode()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.images", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first image")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="write this image to a file in the current folder")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        first, last, seed, folder = args.worker
        work(int(first), int(last), int(seed), folder)
        return 0
    if args.only is not None:
        name, content = make(args.seed, args.only, samples())
        Path(f"mutated-{args.only}").write_bytes(content)
        print(f"mutated-{args.only}: made from {name}")
        return 0
    return run(args.count, args.seed, args.first) > 0


if __name__ == "__main__":
    sys.exit(main())
