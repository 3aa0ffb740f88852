"""One process infers for minutes, on one thread and on two: prints latencies, and checks that memory doesn't grow.

python -m tests.stress.load --minutes 10
"""

import argparse
import sys
import tempfile
import threading
import time
from array import array
from pathlib import Path

import numpy as np

WARM_UP_SECONDS = 5.0
GROWTH = 8e6  # allowed growth of the process in bytes; a leak of 100 bytes per call would exceed it


def images(folder: Path) -> list:
    """Images of many sizes and modes: arrays, PIL images and files of three formats; and a list of 16."""
    from PIL import Image

    generator, found = np.random.default_rng(0), []
    for index in range(60):
        pixels = generator.integers(0, 256, (*generator.integers(16, 400, 2), 3), np.uint8)
        image = Image.fromarray(pixels).convert(("RGB", "L", "RGBA", "P")[index % 4])
        match index % 5:
            case 0:
                found.append(pixels)
            case 1:
                found.append(image)
            case number:
                path = folder / f"{index}.{('png', 'jpg', 'bmp')[number - 2]}"
                (image.convert("RGB") if number > 2 else image).save(path)
                found.append(path)
    return [*found, found[:16]]


def resident() -> int:
    """The process's resident memory in bytes (Linux)."""
    import mmap

    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def answer_until(end: float, model, jobs: list, seconds: array, first: int) -> None:
    """Runs jobs until `end`, and records the seconds of each single image."""
    at = first
    while (began := time.perf_counter()) < end:
        job = jobs[at % len(jobs)]
        model.infer(job)
        if not isinstance(job, list):
            seconds.append(time.perf_counter() - began)
        at += 1


def phase(threads: int, duration: float, model, jobs: list) -> array:
    """Seconds of each single image while `threads` threads infer in parallel."""
    seconds = [array("f") for _ in range(threads)]
    end = time.perf_counter() + duration
    callers = [
        threading.Thread(target=answer_until, args=(end, model, jobs, own, 7 * index)) for index, own in enumerate(seconds)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return array("f", [one for own in seconds for one in own])


def percentiles(name: str, seconds: list[np.ndarray]) -> str:
    found = 1e3 * np.concatenate(seconds)
    p50, p99, p999 = np.percentile(found, (50, 99, 99.9))
    times = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99.9 {p999:.2f} ms, longest {found.max():.1f} ms"
    return f"{name}: {found.size} single images, {times}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    import minisqx

    model, stages = minisqx.load("shallow-06-0.2x"), 10
    with tempfile.TemporaryDirectory() as folder:
        jobs = images(Path(folder))
        for job in jobs:  # however slow the machine, the memory for the largest image is taken before the first measurement
            model.infer(job)
        for threads in (1, 2):
            phase(threads, min(WARM_UP_SECONDS, 6 * args.minutes), model, jobs)
        memory, found = [resident()], {1: [], 2: []}
        for _ in range(stages):
            # As float32: an hour's latencies take a few megabytes, which are subtracted below.
            for threads in (1, 2):
                found[threads].append(np.array(phase(threads, 60 * args.minutes / stages / 2, model, jobs)))
            memory.append(resident() - sum(one.nbytes for of in found.values() for one in of))
    print(percentiles("one thread", found[1]))
    print(percentiles("two threads at once", found[2]))
    start, middle, end = memory[0], memory[len(memory) // 2], memory[-1]
    print(f"memory: {start / 1e6:.1f} MB at the start, {middle / 1e6:.1f} MB in the middle, {end / 1e6:.1f} MB at the end")
    return 0 if end - start < GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
