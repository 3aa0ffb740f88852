"""What a user calls, beside the engine: `python -m benchmarks.calls`.

`net.forward`, `model.infer` and `model.probabilities` beside `plan.run` on a packed batch, which is the engine alone: a call's
time, and its ratio to the engine's in the same round. One image on one thread; 128 images on two. `--before FOLDER` measures
another copy of the repository as well, in turns (`turns.py` says why).
"""

import argparse
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.turns import Contestant

HERE = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "calls.json"
MODEL, BATCH = "shallow-06-0.2x", 128
ENGINE = "plan.run"
UNMEASURED_CALLS = 3
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "pillow")


class Calls:
    """The calls of the copy of minisqx in `folder`, with `images` images."""

    def __init__(self, folder: str, images: int) -> None:
        sys.path.insert(0, folder)
        import minisqx

        if Path(minisqx.__file__).parents[1] != Path(folder):
            raise ImportError(f"{folder}: expected a copy of the repository, and {minisqx.__file__} was imported")
        generator = np.random.default_rng(0)
        pixels = generator.integers(0, 256, (images, 32, 32, 3), np.uint8)
        x = generator.normal(size=(images, 3, 32, 32)).astype(np.float32)
        model = minisqx.load(MODEL)
        plan, net = model.network.plan(), model.network
        layout = plan.layout(images, 32, 32)
        data = layout.pack(x, layout.empty(3, np.float32))
        self.calls: dict[str, Callable[[], object]] = {
            ENGINE: lambda: plan.run(data, layout),
            "net.forward(x)": lambda: net.forward(x),
        }
        if images == 1:
            self.calls["infer(array)"] = lambda: model.infer(pixels[0])
            return
        arrays, files = list(pixels), [_photograph(generator) for _ in range(16)]
        self.calls["infer(list of arrays)"] = lambda: model.infer(arrays)
        self.calls["infer(16 JPEGs of 640 x 480)"] = lambda: model.infer(files)
        if hasattr(model, "probabilities"):
            self.calls["infer(N x H x W x 3)"] = lambda: model.infer(pixels)
            self.calls["probabilities(N x H x W x 3)"] = lambda: model.probabilities(pixels)

    def turn(self, seconds: float) -> dict[str, float]:
        """Seconds of each call, the median over about so many seconds for each."""
        return {name: self._median(call, seconds) for name, call in self.calls.items()}

    def _median(self, call: Callable[[], object], seconds: float) -> float:
        for _ in range(UNMEASURED_CALLS):
            call()
        found, clock = [], time.perf_counter
        end = clock() + seconds
        while not found or clock() < end:
            start = clock()
            call()
            found.append(clock() - start)
        return statistics.median(found)


def _photograph(generator: np.random.Generator) -> bytes:
    """A JPEG, smooth as photographs are."""
    from PIL import Image

    file = io.BytesIO()
    small = Image.fromarray(generator.integers(0, 256, (15, 20, 3), np.uint8))
    small.resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def row(folders: dict[str, str], images: int, threads: int, repeats: int, seconds: float) -> dict[str, object]:
    """Microseconds of each call of each copy and its ratio to the engine, medians over the rounds; the ratio between copies."""
    with ExitStack() as stack:
        contestants = []
        for name, folder in folders.items():
            contestants.append(Contestant(name, Calls, {"folder": folder, "images": images}))
            stack.callback(contestants[-1].close)
        rounds = [{one.name: one.call("turn", seconds) for one in contestants} for _ in range(repeats)]
    found: dict[str, object] = {"images": images, "threads": threads}
    for name in folders:
        found[name] = {
            call: {
                "us": round(1e6 * statistics.median(turn[name][call] for turn in rounds), 1),
                "to_engine": round(statistics.median(turn[name][call] / turn[name][ENGINE] for turn in rounds), 2),
            }
            for call in rounds[0][name]
        }
    if "before" in folders:
        found["before_over_now"] = {
            call: round(statistics.median(turn["before"][call] / turn["now"][call] for turn in rounds), 2)
            for call in rounds[0]["before"]
        }
    return found


def print_row(row: dict) -> None:
    print(f"{row['images']} images, {row['threads']} threads")
    for copy in ("before", "now"):
        for call, figures in row.get(copy, {}).items():
            ratio = row.get("before_over_now", {}).get(call) if copy == "now" else None
            faster = f", {ratio:.2f} times as fast as before" if ratio else ""
            print(f"  {copy:6}  {call:30} {figures['us']:9.1f} us, {figures['to_engine']:6.2f} x {ENGINE}{faster}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description="What a user calls, beside the engine.")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; figures are their median (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a call's turn (default %(default)s)")
    parser.add_argument("--before", type=Path, help="another copy of the repository, measured in turns with this one")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    folders = {"now": str(HERE)} | ({"before": str(options.before.resolve())} if options.before else {})
    facts = describe(PACKAGES) | {"repeats": options.repeats, "turn_seconds": options.seconds, "model": MODEL}
    rows = []
    for images, threads in ((1, 1), (BATCH, 2)):
        # The contestants' processes inherit it before they import anything.
        os.environ["MINISQX_NUM_THREADS"] = str(threads)
        rows.append(row(folders, images, threads, options.repeats, options.seconds))
        print_row(rows[-1])
    options.output.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
