"""How time grows with the work: `python -m benchmarks.scaling`.

A training step (as in `benchmarks.training`) and inference of a batch (as in `benchmarks.inference`), float32, of minisqx on one
thread and on two, and of PyTorch, eager, on two. One parameter varies at a time: the width, the depth, the batch size, the side
of the image; the others stay at 0.2x [1,1,1,1], batch 128 and 32 x 32 pixels, or batch 32 where the side varies. Contestants take
turns, each in its own process.

Before anything is timed, all results are compared with PyTorch in float64, as in those two benchmarks, and ours on two threads
must have the same bits as on one.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks import inference, training
from benchmarks.engines.engine import Network
from benchmarks.engines.ours import Ours
from benchmarks.engines.pytorch import PyTorch
from benchmarks.machine import describe
from benchmarks.turns import Contestant, ContestantError, Steps, measure, ratios
from minisqx.spec import NetworkSpec
from minisqx.spec.squeezenext import SqueezeNextSpec

WIDTHS = (0.125, 0.2, 0.5, 1.0, 2.0)
DEPTHS = ((1, 1, 1, 1), (1, 1, 4, 1), (2, 2, 4, 2), (2, 4, 14, 1))
BATCH_SIZES = (1, 8, 32, 128, 512)
SIDES = (32, 64, 128, 224)
PEER = "PyTorch"
CONTESTANTS = {"1 thread": 1, "2 threads": 2, PEER: 2}  # name -> threads
RESULTS = Path(__file__).parent / "results" / "scaling.json"
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "torch")


class Training(Steps):
    """A training step of one batch, ours or PyTorch's."""

    def __init__(self, is_ours: bool, common: dict, threads: int) -> None:
        if is_ours:
            self.work = training.Ours(**common, threads=threads)
        else:
            from benchmarks.torch_peer import TorchPeer

            self.work = TorchPeer(**common, threads=threads, memory_format="contiguous", compiled=False)
        self.step = self.work.step

    def outcome(self) -> tuple[float, np.ndarray]:
        """Loss, and all gradients as one vector.

        With one image nearly all are zero, since the average of a batch norm's output is its shift, so a tensor's relative error
        would be rounding divided by nearly nothing.
        """
        return self._one_vector(*self.work.outcome())

    def exact(self) -> tuple[float, np.ndarray]:
        """The same in float64."""
        return self._one_vector(*self.work.outcome("float64"))

    def _one_vector(self, loss: float, gradients: dict[str, np.ndarray]) -> tuple[float, np.ndarray]:
        return loss, np.concatenate([gradients[name].ravel() for name in sorted(gradients)])

    @staticmethod
    def check(outcome: tuple[float, np.ndarray], exact: tuple[float, np.ndarray]) -> None:
        """Raises ContestantError if an outcome is wrong."""
        (loss, gradients), (exact_loss, exact_gradients) = outcome, exact
        training.check((loss, {"all": gradients}), (exact_loss, {"all": exact_gradients}))


class Inference(Steps):
    """Inference of one batch, ours or PyTorch's."""

    def __init__(self, is_ours: bool, common: dict, threads: int) -> None:
        engine = Ours if is_ours else PyTorch
        self.spec, self.state, self.x = (common[key] for key in ("spec", "state", "x"))
        with tempfile.TemporaryDirectory(prefix="minisqx-scaling-") as folder:
            file = Path(folder) / f"network.{engine.ending}"
            engine.write(Network(self.spec, self.state, False), file, self.x[:0], "float32")
            options = {} if is_ours else {"compiled": False}
            self.work = engine(file, self.spec.input_size, len(self.x), threads, **options)
        self.work.fill(self.x)
        self.step = self.work.call

    def outcome(self) -> np.ndarray:
        """The logits."""
        return self.work.call()

    def exact(self) -> np.ndarray:
        """Those of PyTorch in float64."""
        return inference.exact_logits(self.spec, self.state, self.x)

    @staticmethod
    def check(outcome: np.ndarray, exact: np.ndarray) -> None:
        """Raises ContestantError if an outcome is wrong."""
        inference.check(outcome, exact)


TASKS = {"training": Training, "inference": Inference}


def same(first: object, second: object) -> bool:
    """Whether two outcomes have the same bits."""
    pairs = zip(first, second) if isinstance(first, tuple) else [(first, second)]
    return all(np.isfinite(one).all() and np.array_equal(one, other) for one, other in pairs)


def point(task: str, spec: NetworkSpec, batch_size: int, repeats: int, seconds: float) -> dict[str, object]:
    """One network and batch size, of all contestants, as plain JSON types."""
    import minisqx

    generator = np.random.default_rng(0)
    common = {
        "spec": spec,
        "state": minisqx.Network(spec).state_dict(),
        "x": generator.normal(size=(batch_size, 3, *spec.input_size)).astype(np.float32),
    }
    if task == "training":
        common["labels"] = generator.integers(0, spec.num_classes, batch_size)
    with ExitStack() as stack:
        contestants = {}
        for name, threads in CONTESTANTS.items():
            os.environ["MINISQX_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
            arguments = {"is_ours": name != PEER, "common": common, "threads": threads}
            contestants[name] = Contestant(name, TASKS[task], arguments)
            stack.callback(contestants[name].close)
        outcomes = {name: one.call("outcome") for name, one in contestants.items()}
        exact = contestants[PEER].call("exact")
        for outcome in outcomes.values():
            TASKS[task].check(outcome, exact)
        if not same(outcomes["1 thread"], outcomes["2 threads"]):
            raise ContestantError(f"{spec.name}, batch {batch_size}: the result depends on the threads")
        measured = measure(list(contestants.values()), repeats, seconds)
    turns = {name: one["turns"] for name, one in measured.items()}
    return {
        "network": spec.name,
        "batch_size": batch_size,
        "side": spec.input_size[0],
        "macs": spec.macs,
        "milliseconds": {name: round(1e3 * one["median"], 4) for name, one in measured.items()},
        "images_per_second": {name: round(batch_size / one["median"], 1) for name, one in measured.items()},
        "speed_up": ratios(turns["1 thread"], turns["2 threads"]),
        "ratio": ratios(turns[PEER], turns["2 threads"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="How time grows with the work.")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; figures are their median (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.1, help="length of a turn (default %(default)s)")
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS), help="default: both")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    facts = describe(PACKAGES) | {"repeats": options.repeats, "turn_seconds": options.seconds}
    print(f"{facts['cpu']}, float32, median of {options.repeats} turns")
    series = {
        "width": [(SqueezeNextSpec(width), 128) for width in WIDTHS],
        "depth": [(SqueezeNextSpec(0.2, blocks), 128) for blocks in DEPTHS],
        "batch size": [(SqueezeNextSpec(0.2), size) for size in BATCH_SIZES],
        "side": [(SqueezeNextSpec(0.2, input_size=(side, side)), 32) for side in SIDES],
    }
    found: dict[str, list] = {}
    for task in options.task:
        for name, points in series.items():
            print(f"\n{task}, by {name}")
            titles = " ".join(f"{title:>12}" for title in CONTESTANTS)
            print(
                f"  {'network':22} {'batch':>5} {'side':>5} {titles} {'images/s':>10} {'2 over 1':>9} {f'{PEER} over ours':>18}"
            )
            for spec, batch_size in points:
                print(f"{spec.name}, {batch_size}", file=sys.stderr, flush=True)
                one = point(task, spec, batch_size, options.repeats, options.seconds)
                found.setdefault(f"{task} by {name}", []).append(one)
                times = " ".join(f"{one['milliseconds'][title]:9.3f} ms" for title in CONTESTANTS)
                speed = f"{one['images_per_second']['2 threads']:10,.0f} {one['speed_up']['median']:9.2f}"
                ratio = one["ratio"]["median"]
                print(f"  {one['network']:22} {batch_size:5} {one['side']:5} {times} {speed} {ratio:18.2f}", flush=True)
    options.output.write_text(json.dumps(facts | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
