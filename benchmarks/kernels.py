"""Each layer beside what the machine can do: `python -m benchmarks.kernels`.

Training steps of batch 128 on one thread, float32; each call of the fused basic block, forward and backward, is timed in its
place, with the caches as the layer before left them. Floating point operations are those of the matrix products alone (ELU,
batch norm and im2col come on top, and count as nothing); bytes are those of the tensors that a pass must read and write once.
Beside them stand the peak of the register tile on data in the first cache, and the bandwidth of a copy between large arrays, both
measured here. The roofline (a table and a picture) is the smaller of the peak and of bandwidth times operations a byte.

Before anything is timed, the loss and the gradients of a step are held against PyTorch's float64, as in `benchmarks.training`.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks import training
from benchmarks.machine import describe
from benchmarks.turns import Contestant
from minisqx.spec import NetworkSpec

NETWORKS = ((0.2, (1, 1, 1, 1)), (0.5, (1, 1, 1, 1)), (1.0, (1, 1, 1, 1)))
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "torch")
BATCH_SIZE = 128
COPIED_BYTES = 256 << 20


def peak_gflops(seconds: float) -> float:
    """GFLOP/s of the product's tile where everything lies in the first cache: 48 rows, 64 deep, one tile wide."""
    from numba import njit

    from minisqx.kernels import product
    from minisqx.kernels.layout import aligned_empty
    from minisqx.kernels.simd import VECTOR_BYTES

    product.prepare(np.dtype(np.float32))
    rows, depth, columns = 48, 64, product.VECTORS * VECTOR_BYTES // 4

    @njit
    def repeat(times, out, weight, x, zeros, ones):
        for _ in range(times):
            product.product(out, columns, weight, rows, x, columns, depth, columns, rows, 0, zeros, ones, zeros)

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
    """GB/s, read and written, of the fastest copy of a large array on one thread."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        np.copyto(target, source)
        best = max(best, 2e-9 * COPIED_BYTES / (time.perf_counter() - start))
    return best


class Clock:
    """Stands in for a kernel: times each of its calls in a step."""

    def __init__(self, kernel) -> None:
        self.kernel, self.calls, self.seconds = kernel, [], {}

    def __call__(self, *arguments):
        from minisqx.kernels.jit import bound

        number = len(self.calls)
        self.calls.append(arguments)
        kernel = bound(self.kernel, arguments)
        start = time.perf_counter()
        result = kernel(*arguments)
        self.seconds.setdefault(number, []).append(time.perf_counter() - start)
        return result


def forward_work(arguments: tuple, images: int) -> tuple[float, float]:
    """(floating point operations, bytes) of a call of `convolution.forward`."""
    out, in_scale, weight, taps = (arguments[i] for i in (0, 8, 11, 16))
    pixels, in_pixels = _map_pixels(taps.geometry)
    return 2 * images * pixels * weight.size, 4 * images * (in_scale.size * in_pixels + out.shape[1] * pixels)


def backward_work(arguments: tuple, images: int) -> tuple[float, float]:
    """The same of `convolution.backward`: the incoming gradient's product and the weight's gradient."""
    e, keep, dweight, source, in_scale, taps = (arguments[i] for i in (0, 1, 2, 7, 15, 19))
    pixels, in_pixels = _map_pixels(taps.geometry)
    stored = 0 if source.stored.size == 0 else (e.shape[1] - source.produced) / (4 if source.sampled else 1)
    rows = e.shape[1] * (2 if keep else 1) + source.dz.shape[1] + stored
    return 2 * images * pixels * (dweight.size + source.weight.size), 4 * images * (rows * pixels + in_scale.size * in_pixels)


def _map_pixels(geometry) -> tuple[int, int]:
    from minisqx.kernels import im2col

    height, width, in_height, in_width = (im2col.OUT_HEIGHT, im2col.OUT_WIDTH, im2col.IN_HEIGHT, im2col.IN_WIDTH)
    return int(geometry[height] * geometry[width]), int(geometry[in_height] * geometry[in_width])


def check(spec: NetworkSpec, common: dict) -> None:
    """Raises ContestantError where our first step is not PyTorch's."""
    from benchmarks.torch_peer import TorchPeer

    contestants = [
        Contestant("torch", TorchPeer, {**common, "memory_format": "contiguous", "compiled": False}),
        Contestant("minisqx", training.Ours, common),
    ]
    training.check(contestants[1].call("outcome"), contestants[0].call("outcome", "float64"))
    for contestant in contestants:
        contestant.close()


def layers(spec: NetworkSpec, repeats: int) -> list[dict[str, object]]:
    """A row a pass of a layer, in the order of a step, as plain JSON types."""
    import minisqx
    from minisqx.kernels import convolution

    generator = np.random.default_rng(0)
    common = {
        "spec": spec,
        "state": minisqx.ShallowSqueezeNext(**spec.to_dict()).state_dict(),
        "x": generator.normal(size=(BATCH_SIZE, 3, *spec.input_size)).astype(np.float32),
        "labels": generator.integers(0, spec.num_classes, BATCH_SIZE),
        "threads": 1,
    }
    check(spec, common)
    kernels = {name: getattr(convolution, name) for name in ("forward", "backward")}
    clocks = {name: Clock(kernel) for name, kernel in kernels.items()}
    try:
        for name, clock in clocks.items():
            setattr(convolution, name, clock)
        ours = training.Ours(**common)
        for number in range(repeats + 2):
            for clock in clocks.values():
                clock.calls.clear()
                if number == 2:
                    clock.seconds.clear()
            ours.step()
    finally:
        for name, kernel in kernels.items():
            setattr(convolution, name, kernel)
    names = [" + ".join(convolution.name for convolution in group) for group in spec.groups]
    order = {"forward": names, "backward": names[::-1]}
    work = {"forward": forward_work, "backward": backward_work}
    found = []
    for direction, clock in clocks.items():
        for number, (layer, arguments) in enumerate(zip(order[direction], clock.calls, strict=True)):
            flop, moved = work[direction](arguments, BATCH_SIZE)
            seconds = statistics.median(clock.seconds[number])
            found.append(
                {
                    "network": spec.name,
                    "layer": layer,
                    "pass": direction,
                    "microseconds": round(1e6 * seconds, 1),
                    "gflops": round(1e-9 * flop / seconds, 2),
                    "gbps": round(1e-9 * moved / seconds, 2),
                    "flop_per_byte": round(flop / moved, 3),
                }
            )
    return found


def draw(rows: list[dict], peak: float, bandwidth: float, path: Path) -> None:
    """The roofline: every layer as a point under the line that the machine sets."""
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
    axes.set(xscale="log", yscale="log", xlabel="floating point operations a byte", ylabel="GFLOP/s on one thread")
    axes.set_title("Basic blocks in training, batch 128, float32")
    axes.set_ylim(0.3, 1.6 * peak)
    axes.grid(which="both", alpha=0.25)
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description="Each layer beside what the machine can do."
    )
    parser.add_argument("--repeats", type=int, default=15, help="steps; figures are their median (default %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="folder of kernels.json and roofline.png (default %(default)s)"
    )
    options = parser.parse_args()
    os.environ["MINISQX_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    facts = describe(PACKAGES) | {"batch_size": BATCH_SIZE, "threads": 1, "repeats": options.repeats}
    peak, bandwidth = peak_gflops(1.0), bandwidth_gbps(2.0)
    print(f"{facts['cpu']}, one thread, float32: peak {peak:.1f} GFLOP/s, bandwidth {bandwidth:.1f} GB/s")
    rows = []
    for width, blocks in NETWORKS:
        found = layers(NetworkSpec(width, blocks), options.repeats)
        rows += found
        print(f"\n{found[0]['network']}")
        print(f"  {'layer':44} {'pass':8} {'us':>9} {'GFLOP/s':>8} {'of peak':>8} {'GB/s':>6} {'of limit':>9}")
        for row in found:
            row["of_peak"] = round(row["gflops"] / peak, 3)
            row["of_limit"] = round(row["gflops"] / min(peak, row["flop_per_byte"] * bandwidth), 3)
            print(
                f"  {row['layer']:44} {row['pass']:8} {row['microseconds']:9,.0f} {row['gflops']:8.1f} {row['of_peak']:8.0%}"
                f" {row['gbps']:6.1f} {row['of_limit']:9.0%}",
                flush=True,
            )
    measured = {"peak_gflops": round(peak, 1), "bandwidth_gbps": round(bandwidth, 2), "rows": rows}
    (options.output / "kernels.json").write_text(json.dumps(facts | measured, indent=1) + "\n")
    draw(rows, peak, bandwidth, options.output / "roofline.png")


if __name__ == "__main__":
    main()
