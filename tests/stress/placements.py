"""The same numbers give the same bits wherever their arrays lie in memory.

python -m tests.stress.placements --code --kernels 1000 --steps 2000

--code: recompiles every kernel and reads LLVM's input and output: no operation may allow another order or rounding.
--kernels: the number of memory placements of every recorded call of every kernel, with arrays near and far, in any order.
--steps: training steps of new networks on one to four threads, with other allocations in between and two busy processes.
Exits with 1 if any bit differs.
"""

import argparse
import hashlib
import multiprocessing
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minisqx.machine.threads import use_threads
from tests.kernel_records import every_kernel, run_networks

DTYPES = ("float32", "float64")
THREADS = (1, 2, 3, 4)
# One chunk, chunks of unequal sizes, and more than sixteen.
BATCHES = (1, 37, 130)
OPERATION = re.compile(r" = [a-z ]*\b(fadd|fsub|fmul|fdiv|fneg|fcmp)\b|@llvm\.(fmuladd|fma|exp|log|sqrt|vector\.reduce)\.")
FLAGS = re.compile(r"\b(reassoc|contract|arcp|afn|nsz|nnan|ninf|fast)\b")


def flagged_operations(compile_kernels: Callable[[], object]) -> tuple[int, list[str]]:
    """The number of floating-point operations in all code compiled meanwhile, before and after LLVM; and those with a flag."""
    from minisqx.kernels.compiler.numba_members import Library

    texts, make_code = [], Library._make_code

    def noted(self) -> None:
        is_new = not self._is_code
        if is_new:
            texts.append(str(self._final_module))
        make_code(self)
        if is_new:
            texts.append(str(self._final_module))

    Library._make_code = noted
    try:
        compile_kernels()
    finally:
        Library._make_code = make_code
    operations = [line for text in texts for line in text.splitlines() if OPERATION.search(line)]
    return len(operations), [line for line in operations if FLAGS.search(line)]


def check_code() -> int:
    """The number of operations with a flag."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MINISQX_CACHE"] = cache  # empty, so everything is compiled
        count, flagged = flagged_operations(lambda: [run_networks(dtype) for dtype in DTYPES])
    print(f"{count} floating-point operations, {len(flagged)} of them with a flag", flush=True)
    return len(flagged)


def check_kernels(places: int) -> int:
    """The number of recorded calls with more than one result."""
    from minisqx.kernels import im2col
    from minisqx.kernels.tiles import product

    with tempfile.TemporaryDirectory() as folder:
        records = every_kernel(Path(folder) / "records")
    for dtype in DTYPES:
        im2col.prepare(np.dtype(dtype))
        product.prepare(np.dtype(dtype))
    generator, differ = np.random.default_rng(0), 0
    for record in records:
        found = Counter(hashlib.sha256(record.run(generator)).hexdigest() for _ in range(places))
        if len(found) > 1:
            differ += 1
            print(f"{record.module}.{record.name}: {len(found)} results, {dict(found.most_common(4))}", flush=True)
    kernels = len({(record.module, record.name) for record in records})
    alike = len(records) - differ
    print(f"{kernels} kernels, {len(records)} calls, each at {places} places: {alike} with one result", flush=True)
    return differ


def step_digest(dtype: str, images: int) -> str:
    """A hash of all results of one step of a new network."""
    import minisqx

    network = minisqx.ShallowSqueezeNext(width=0.125, seed=3, dtype=dtype)
    optimizer = minisqx.SGD(network, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    generator = np.random.default_rng(images)
    x, labels = generator.normal(size=(images, 3, 9, 11)), generator.integers(0, 10, images)
    loss, dlogits = minisqx.cross_entropy(network.forward(x, training=True), labels)
    dx = network.backward(dlogits, input_gradient=True)
    optimizer.step()
    parts = (dlogits, dx, network.flat_gradients, network.flat_parameters, network.flat_buffers, network.forward(x[:3]))
    return hashlib.sha256(b"".join([np.float64(loss).tobytes(), *(part.tobytes() for part in parts)])).hexdigest()


def check_steps(count: int) -> int:
    """The number of cases (dtype and batch size) with more than one result."""
    generator, kept, differ = np.random.default_rng(0), [], 0
    cases = [(dtype, images) for dtype in DTYPES for images in BATCHES]
    found: dict[tuple[str, int], Counter] = {case: Counter() for case in cases}
    for number in range(count):
        use_threads(THREADS[number // len(cases) % len(THREADS)])
        case = cases[number % len(cases)]
        found[case][step_digest(*case)] += 1
        # Leaves blocks and holes of random sizes for the next allocations.
        kept += [np.empty(size, np.uint8) for size in generator.integers(1, 4000, 20)]
        kept = [kept[index] for index in generator.permutation(len(kept))[:500]]
    for case, digests in found.items():
        if len(digests) > 1:
            differ += 1
            print(f"steps of {case}: {len(digests)} results, {dict(digests)}", flush=True)
    print(f"{count} steps of {len(cases)} cases on {THREADS} threads: {len(cases) - differ} with one result", flush=True)
    return differ


def spin() -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # stops if the parent is killed
        sum(range(100_000))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--code", action="store_true")
    arguments = parser.parse_args()
    use_threads(max(THREADS))
    differ = check_code() if arguments.code else 0
    if arguments.kernels:
        differ += check_kernels(arguments.kernels)
    if arguments.steps:
        busy = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(2)]
        for process in busy:
            process.start()
        try:
            differ += check_steps(arguments.steps)
        finally:
            for process in busy:
                process.kill()
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
