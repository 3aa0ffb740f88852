"""Each layer against the machine's limits: `python -m benchmarks.kernels`.

Training steps of batch 128 on one thread, float32; each call of the fused basic block, forward and backward, is timed within the
step, with caches as the layer before left them. Only the floating-point operations of matrix products count, not ELU, batch norm
and im2col; bytes are those of the tensors that a pass must read and write once. The limits are the peak of the register tile on
data in the L1 cache, and the bandwidth of a copy between large arrays, both measured here. The roofline (a table and a plot) is
the smaller of the peak and of bandwidth times operations per byte.

Before anything is timed, the loss and the gradients of a step are compared with PyTorch in float64, as in `benchmarks.training`.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import training
from benchmarks.machine import describe
from minisqx.spec import NetworkSpec, zoo

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "torch")
BATCH_SIZE = 128
COPIED_BYTES = 256 << 20
UNMEASURED_STEPS = 2


def peak_gflops(seconds: float) -> float:
    """GFLOP/s of the product's tile with all data in the L1 cache: 48 rows, depth 64, one tile wide."""
    from numba import njit

    from minisqx.kernels.layout import aligned_empty
    from minisqx.kernels.structures import Affine, Extent, Matrix
    from minisqx.kernels.tiles import product
    from minisqx.kernels.tiles.simd import VECTOR_BYTES

    product.prepare(np.dtype(np.float32))
    rows, depth, columns = 48, 64, product.VECTORS * VECTOR_BYTES // 4

    @njit
    def repeat(times, out, weight, x, zeros, ones):
        for _ in range(times):
            extent, epilogue = Extent(0, rows, depth, 0, columns), Affine(zeros, ones, zeros)
            product.product(Matrix(out, 0, columns), Matrix(weight, 0, rows), Matrix(x, 0, columns), extent, epilogue, 0)

    out, x = (aligned_empty(size * columns, np.float32) for size in (rows, depth))
    x[:], weight = 1, np.ones(rows * depth, np.float32)
    zeros, ones = np.zeros(rows, np.float32), np.ones(rows, np.float32)
    repeat(1, out, weight, x, zeros, ones)
    if not (out == depth).all():
        raise SystemExit("the tile's result is wrong: there is no peak to measure")
    times, best, end = 2000, 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        repeat(times, out, weight, x, zeros, ones)
        best = max(best, 2e-9 * times * rows * depth * columns / (time.perf_counter() - start))
    return best


def bandwidth_gbps(seconds: float) -> float:
    """GB/s of the fastest copy of a large array on one thread, reads plus writes."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        np.copyto(target, source)
        best = max(best, 2e-9 * COPIED_BYTES / (time.perf_counter() - start))
    return best


class Clock:
    """Times each call of some tasks in a step."""

    def __init__(self, tasks: list) -> None:
        # The seconds of each task's calls, for each step.
        self.seconds: dict = {task: [] for task in tasks}

    def run(self, program, run: Callable) -> None:
        """Runs each call of a program alone; run: `Program.run`."""
        for call in program.calls:
            alone = type(program)([call])
            start = time.perf_counter()
            run(alone)
            if call.task in self.seconds:
                self.seconds[call.task][-1].append(time.perf_counter() - start)

    def start_step(self) -> None:
        for steps in self.seconds.values():
            steps.append([])


@dataclass(frozen=True)
class Group:
    """Convolutions that run as one, and the work of their passes for one image, counted from the description.

    The input of a stride of 2 is a sum that holds only the pixels that are read. Backward, a group computes its weight gradient,
    and the gradient of its own output by a product with the weight of the group after it. The last group of a bottleneck has no
    such product, since the gradient of the sum is stored; nor has the head, which reads that of the average.
    """

    name: str
    pixels: int
    in_pixels: int
    in_channels: int
    channels: int
    weights: int
    stored: int  # values that backward reads of a stored gradient
    consumer: tuple[int, int]  # weights and channels of the next group, whose product backward computes; or zeros
    is_stem: bool

    def work(self, direction: str) -> tuple[float, float]:
        """(floating-point operations, bytes in float32) of one image; direction: "forward" or "backward"."""
        read, output = self.in_channels * self.in_pixels, self.channels * self.pixels
        if direction == "forward":
            return 2 * self.pixels * self.weights, 4 * (read + output)
        weights, channels = self.consumer
        # The output is read and overwritten with dz, except in the stem, whose dz has no reader.
        moved = read + output * (1 if self.is_stem else 2) + channels * self.pixels + self.stored
        return 2 * self.pixels * (self.weights + weights), 4 * moved


def groups(spec: NetworkSpec) -> list[Group]:
    """In the order of the forward pass."""
    weights = [sum(math.prod(layer.weight_shape) for layer in group) for group in spec.groups]
    channels = [sum(layer.out_channels for layer in group) for group in spec.groups]
    # If the next bottleneck reads a sum with a stride, the sum's gradient has only the pixels that it reads.
    sums = {"head": math.prod(spec.head.output_size)}
    for block, following in zip(spec.bottlenecks, (*spec.bottlenecks[1:], None)):
        read = following.main[0] if block.sampled else block.main[-1]
        sums |= {layer.name: math.prod(read.output_size) for layer in block.layers}
    last = {"head"} | {block.main[-1].name for block in spec.bottlenecks}
    found = []
    for number, group in enumerate(spec.groups):
        first = group[0]
        pixels, in_pixels = math.prod(first.output_size), math.prod(first.input_size)
        ends = first.name in last
        found.append(
            Group(
                name=" + ".join(layer.name for layer in group),
                pixels=pixels,
                in_pixels=pixels if first.stride == (2, 2) else in_pixels,
                in_channels=first.in_channels,
                channels=channels[number],
                weights=weights[number],
                stored=sum(layer.out_channels * sums[layer.name] for layer in (group if ends else group[1:])),
                consumer=(0, 0) if ends else (weights[number + 1], channels[number + 1]),
                is_stem=number == 0,
            )
        )
    return found


def layers(spec: NetworkSpec, repeats: int) -> tuple[list[dict[str, object]], str]:
    """One row per layer and pass, in the order of the network, as plain JSON types; and Numba's threading layer.

    Identical layers, such as those of a stage's later bottlenecks, share the row of the first.
    """
    import minisqx
    from minisqx.kernels import convolution
    from minisqx.kernels.compiler.tasks import Program

    generator = np.random.default_rng(0)
    common = {
        "spec": spec,
        "state": minisqx.Network(spec).state_dict(),
        "x": generator.normal(size=(BATCH_SIZE, 3, *spec.input_size)).astype(np.float32),
        "labels": generator.integers(0, spec.num_classes, BATCH_SIZE),
        "threads": 1,
    }
    training.check_ours(common)
    clock, run = Clock([convolution.forward, convolution.backward]), Program.run
    try:
        Program.run = lambda program: clock.run(program, run)
        ours = training.Ours(**common)
        for _ in range(UNMEASURED_STEPS + repeats):
            clock.start_step()
            ours.step()
    finally:
        Program.run = run
    found = {}
    for direction, steps in zip(("forward", "backward"), clock.seconds.values()):
        seconds_of_calls = [statistics.median(call) for call in zip(*steps[UNMEASURED_STEPS:], strict=True)]
        in_order = seconds_of_calls if direction == "forward" else seconds_of_calls[::-1]
        for group, seconds in zip(groups(spec), in_order, strict=True):
            flop, moved = (BATCH_SIZE * amount for amount in group.work(direction))
            row = {
                "network": spec.name,
                "layer": group.name,
                "pass": direction,
                "microseconds": round(1e6 * seconds, 1),
                "gflops": round(1e-9 * flop / seconds, 2),
                "gbps": round(1e-9 * moved / seconds, 2),
                "flop_per_byte": round(flop / moved, 3),
            }
            found.setdefault((direction, group.pixels, group.in_channels, group.channels, flop, moved), row)
    return list(found.values()), ours.threading_layer()


def draw(rows: list[dict], peak: float, bandwidth: float, path: Path) -> None:
    """The roofline plot: every layer as a point under the machine's limit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.subplots()
    intensity = np.geomspace(0.05, 100, 200)
    limit = np.minimum(peak, intensity * bandwidth)
    axes.plot(intensity, limit, color="black", label=f"limit: {peak:.0f} GFLOP/s, {bandwidth:.1f} GB/s")
    names = list(dict.fromkeys(row["network"] for row in rows))
    for name, colour in zip(names, ("tab:blue", "tab:green", "tab:orange")):
        for direction, marker in (("forward", "o"), ("backward", "^")):
            points = [(row["flop_per_byte"], row["gflops"]) for row in rows if (row["network"], row["pass"]) == (name, direction)]
            axes.scatter(*zip(*points), color=colour, marker=marker, alpha=0.7, label=f"{name}, {direction}")
    axes.set(xscale="log", yscale="log", xlabel="floating-point operations per byte", ylabel="GFLOP/s on one thread")
    axes.set_title("Basic blocks in training, batch 128, float32")
    axes.set_ylim(0.3, 1.6 * peak)
    axes.grid(which="both", alpha=0.25)
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=110)


def print_rows(rows: list[dict], peak: float, bandwidth: float) -> None:
    """Prints the table, and adds to each row its fractions of the peak and of the roofline."""
    network = None
    for row in rows:
        row["of_peak"] = round(row["gflops"] / peak, 3)
        row["of_limit"] = round(row["gflops"] / min(peak, row["flop_per_byte"] * bandwidth), 3)
        if row["network"] != network:
            network = row["network"]
            print(f"\n{network}")
            print(f"  {'layer':44} {'pass':8} {'us':>9} {'GFLOP/s':>8} {'of peak':>8} {'GB/s':>6} {'of limit':>9}")
        print(
            f"  {row['layer']:44} {row['pass']:8} {row['microseconds']:9,.0f} {row['gflops']:8.1f} {row['of_peak']:8.0%}"
            f" {row['gbps']:6.1f} {row['of_limit']:9.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description="Each layer against the machine's limits.")
    parser.add_argument("--repeats", type=int, default=15, help="steps; figures are their median (default %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="folder of kernels.json and roofline.png (default %(default)s)"
    )
    options = parser.parse_args()
    os.environ["MINISQX_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    facts = describe(PACKAGES) | {"batch_size": BATCH_SIZE, "threads": 1, "repeats": options.repeats}
    print(f"{facts['cpu']}, one thread, float32, batch {BATCH_SIZE}, median of {options.repeats} steps")
    rows, peaks, bandwidths = [], [], []
    for name in training.SHALLOW:
        # Interleaved with the layers, since the machine's speed drifts; the best counts.
        peaks.append(peak_gflops(1.0))
        bandwidths.append(bandwidth_gbps(1.0))
        found, facts["threading_layer"] = layers(zoo.network(name), options.repeats)
        rows += found
    peak, bandwidth = max(peaks), max(bandwidths)
    print(f"peak {peak:.1f} GFLOP/s, bandwidth {bandwidth:.1f} GB/s")
    print_rows(rows, peak, bandwidth)
    measured = {"peak_gflops": round(peak, 1), "bandwidth_gbps": round(bandwidth, 2), "rows": rows}
    (options.output / "kernels.json").write_text(json.dumps(facts | measured, indent=1) + "\n")
    draw(rows, peak, bandwidth, options.output / "roofline.png")


if __name__ == "__main__":
    main()
