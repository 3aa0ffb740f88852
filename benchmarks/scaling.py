"""How time grows with the work: `python -m benchmarks.scaling`.

A training step (as in `benchmarks.training`) and inference of a batch (as in `benchmarks.inference`), float32, on one thread and
on two. One parameter varies at a time: the width, the batch size, the side of the image; the others stay at 0.2x [1,1,1,1], batch
128 and 32 x 32 pixels. One thread and two take turns, each in its own process.

Before anything is timed, the results on one thread are compared with PyTorch in float64, as in those two benchmarks, and those on
two threads must have the same bits.
"""

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks import inference, training
from benchmarks.machine import describe
from benchmarks.turns import Contestant, ContestantError, Steps, measure
from minisqx.spec import NetworkSpec
from minisqx.spec.squeezenext import SqueezeNextSpec

WIDTHS = (0.125, 0.2, 0.3, 0.5, 1.0, 2.0)
BATCH_SIZES = (1, 2, 8, 32, 128, 512)
SIDES = (32, 48, 64, 96)
THREADS = (1, 2)
RESULTS = Path(__file__).parent / "results" / "scaling.json"
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite")


class Work(Steps):
    """A training step or inference of one batch; task: "training" or "inference"."""

    def __init__(self, task: str, spec: NetworkSpec, state: dict, x: np.ndarray, labels: np.ndarray, threads: int) -> None:
        if task == "training":
            self.work = training.Ours(spec, state, x, labels, threads)
            self.step = self.work.step
        else:
            self.work = inference.Ours(spec, state, x, threads)
            self.step = self.work.call

    def outcome(self) -> object:
        """The results, for comparison."""
        return self.work.outcome()

    def threading_layer(self) -> str | None:
        """Numba's in training; None in inference, which doesn't use it."""
        return self.work.threading_layer() if isinstance(self.work, training.Ours) else None


def same(first: object, second: object) -> bool:
    """Whether two outcomes have the same bits: arrays, or (loss, gradients by name)."""
    if isinstance(first, np.ndarray):
        return np.isfinite(first).all() and np.array_equal(first, second)
    (loss, gradients), (other_loss, others) = first, second
    return np.isfinite(loss) and loss == other_loss and all(np.array_equal(gradients[name], others[name]) for name in gradients)


def one_vector(gradients: dict[str, np.ndarray], order: dict[str, np.ndarray]) -> np.ndarray:
    """All gradients concatenated, in the order of the names of `order`."""
    return np.concatenate([gradients[name].ravel() for name in order])


def check(task: str, common: dict, outcome: object) -> None:
    """Raises ContestantError if an outcome differs from PyTorch's in float64.

    All gradients are compared as one vector: with one image nearly all are zero, since the average of a batch norm's output is
    its shift, so a tensor's relative error would be rounding divided by nearly nothing.
    """
    arguments = {name: value for name, value in common.items() if name != "task"} | {"threads": 1}
    if task == "training":
        from benchmarks.torch_peer import TorchPeer

        reference = Contestant("torch", TorchPeer, arguments | {"memory_format": "contiguous", "compiled": False})
        exact_loss, exact = reference.call("outcome", "float64")
        training.check((outcome[0], {"all": one_vector(outcome[1], exact)}), (exact_loss, {"all": one_vector(exact, exact)}))
    else:
        del arguments["labels"]
        reference = Contestant("torch", inference.Reference, arguments)
        inference.check(outcome, reference.call("outcome"))
    reference.close()


def point(task: str, spec: NetworkSpec, batch_size: int, repeats: int, seconds: float) -> dict[str, object]:
    """One network and batch size on each number of threads, as plain JSON types."""
    import minisqx

    generator = np.random.default_rng(0)
    common = {
        "task": task,
        "spec": spec,
        "state": minisqx.Network(spec).state_dict(),
        "x": generator.normal(size=(batch_size, 3, *spec.input_size)).astype(np.float32),
        "labels": generator.integers(0, spec.num_classes, batch_size),
    }
    with ExitStack() as stack:
        contestants = []
        for threads in THREADS:
            os.environ["MINISQX_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
            contestants.append(Contestant(f"{threads}", Work, common | {"threads": threads}))
            stack.callback(contestants[-1].close)
        outcomes = [contestant.call("outcome") for contestant in contestants]
        check(task, common, outcomes[0])
        if not all(same(outcomes[0], other) for other in outcomes[1:]):
            raise ContestantError(f"{spec.name}, batch {batch_size}: the result depends on the threads")
        measured = measure(contestants, repeats, seconds)
        layer = contestants[-1].call("threading_layer")
    one, two = (measured[f"{threads}"]["turns"] for threads in THREADS)
    return {
        "network": spec.name,
        "batch_size": batch_size,
        "side": spec.input_size[0],
        "macs": spec.macs,
        "milliseconds": {threads: round(1e3 * measured[threads]["median"], 4) for threads in measured},
        "images_per_second": {threads: round(batch_size / measured[threads]["median"], 1) for threads in measured},
        "threading_layer": layer,
        "speed_up": training.summary([a / b for a, b in zip(one, two)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="How time grows with the work.")
    parser.add_argument("--repeats", type=int, default=7, help="rounds; figures are their median (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn (default %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    facts = describe(PACKAGES) | {"repeats": options.repeats, "turn_seconds": options.seconds}
    print(f"{facts['cpu']}, float32, median of {options.repeats} turns")
    series = {
        "width": [(SqueezeNextSpec(width), 128) for width in WIDTHS],
        "batch size": [(SqueezeNextSpec(0.2), size) for size in BATCH_SIZES],
        "side": [(SqueezeNextSpec(0.2, input_size=(side, side)), 128) for side in SIDES],
    }
    found: dict[str, list] = {}
    for task in ("training", "inference"):
        for name, points in series.items():
            print(f"\n{task}, by {name}")
            print(
                f"  {'network':18} {'batch':>5} {'side':>5} {'1 thread':>12} {'2 threads':>12} {'images/s':>10} {'speed-up':>9}"
            )
            for spec, batch_size in points:
                print(f"{spec.name}, {batch_size}", file=sys.stderr, flush=True)
                one = point(task, spec, batch_size, options.repeats, options.seconds)
                found.setdefault(f"{task} by {name}", []).append(one)
                times = " ".join(f"{one['milliseconds'][str(threads)]:9.3f} ms" for threads in THREADS)
                speed = f"{one['images_per_second']['2']:10,.0f} {one['speed_up']['median']:9.2f}"
                print(f"  {one['network']:18} {batch_size:5} {one['side']:5} {times} {speed}", flush=True)
    options.output.write_text(json.dumps(facts | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
