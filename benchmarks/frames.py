"""From a camera's frame or a photograph's file to a `Prediction`: `python -m benchmarks.frames`.

Each row is a call of `model.infer` with the shipped 0.2x network on one thread. Beside it stands the same call on an image that
Pillow has brought to 32 x 32 first: the file decoded, the centre cut out and resized by the same filter; once in full, once with
`reducing_gap=3`, its own way to decode a JPEG at a fraction of its size and to reduce before the filter. `--before` names a
checkout of other code, which is measured in the same run. Each contestant lives in a process of its own, and they take turns
(`turns.py` says why). Before that, all answers are compared: the probabilities may differ by `LIMIT`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from benchmarks.turns import Contestant, Steps, measure

RESULTS = Path(__file__).parent / "results" / "frames.json"
MODEL = "shallow-06-0.2x"
SIZE = 32
# (file's ending, or "array"; width, height)
ROWS = (
    ("array", 640, 480),
    ("array", 1920, 1080),
    ("array", 4000, 3000),
    ("jpg", 640, 480),
    ("jpg", 1920, 1080),
    ("jpg", 4000, 3000),
    ("jpg", 6000, 4000),
    ("progressive.jpg", 4000, 3000),
    ("png", 1920, 1080),
)
OURS, BEFORE, PILLOW, GAP = "minisqx", "before", "Pillow, in full", "Pillow, reducing_gap"
# Other roundings of a pixel, and blocks of 8 x 8 averaged before the filter, change a probability a little.
LIMIT = 0.05
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "pillow")


def photograph(width: int, height: int) -> np.ndarray:
    """A picture with detail at every scale, as JPEG finds it in photographs: uint8 (height, width, 3)."""
    generator, picture = np.random.default_rng(0), np.zeros((height, width, 3), np.float32)
    for side in (4, 16, 64, 256, 1024):
        noise = generator.integers(0, 256, (side * height // width + 1, side, 3), np.uint8)
        picture += np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC), np.float32) - 127.5
    return np.clip(127.5 + 0.4 * picture + generator.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


class Infer(Steps):
    """`model.infer` of the code in `checkout`, or of the installed one."""

    def __init__(self, source: str, checkout: str | None) -> None:
        if checkout is not None:
            sys.path.insert(0, checkout)
        import minisqx

        if checkout is not None and not Path(minisqx.__file__).is_relative_to(Path(checkout).resolve()):
            raise RuntimeError(f"{minisqx.__file__} was imported instead of the code in {checkout}")
        self._model = minisqx.load(MODEL)
        self._source = np.load(source) if source.endswith(".npy") else source

    def step(self) -> None:
        """Answers once."""
        self._answer = self._model.infer(self._source)

    def probabilities(self) -> np.ndarray:
        """The last answer's."""
        return np.array(self._answer.probabilities)


class Resized(Infer):
    """The same on an image that Pillow brings to the network's size. gap: its `reducing_gap`."""

    def __init__(self, source: str, gap: float | None) -> None:
        super().__init__(source, None)
        self._image, self._gap = self._source, gap

    def step(self) -> None:
        """Resizes and answers once."""
        image = Image.fromarray(self._image) if isinstance(self._image, np.ndarray) else Image.open(self._image)
        if self._gap is not None:
            # What Image.thumbnail does, which can't cut out the centre.
            image.draft(None, (int(SIZE * self._gap * image.width / image.height), int(SIZE * self._gap)))
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        small = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box, self._gap)
        self._source = np.asarray(small)
        super().step()


def write(folder: Path, kind: str, width: int, height: int) -> str:
    """The path of the row's picture as a file."""
    path, picture = folder / f"{width}.{kind}", photograph(width, height)
    if kind == "array":
        path = path.with_suffix(".npy")
        np.save(path, picture)
    elif kind == "png":
        Image.fromarray(picture).save(path)
    else:
        Image.fromarray(picture).save(path, quality=90, progressive=kind.startswith("progressive"))
    return str(path)


def measure_row(path: str, before: str | None, repeats: int, seconds: float) -> dict[str, dict]:
    """The results of each contestant by its name. Raises SystemExit where answers differ."""
    ways = {OURS: (Infer, {"checkout": None}), PILLOW: (Resized, {"gap": None}), GAP: (Resized, {"gap": 3.0})}
    if before is not None:
        ways[BEFORE] = (Infer, {"checkout": before})
    with ExitStack() as stack:
        contestants = []
        for name, (build, arguments) in ways.items():
            contestants.append(Contestant(name, build, {"source": path, **arguments}))
            stack.callback(contestants[-1].close)
        results = measure(contestants, repeats, seconds)
        answers = {one.name: one.call("probabilities") for one in contestants}
    for name, answer in answers.items():
        difference = float(np.abs(answer - answers[OURS]).max())
        if difference > LIMIT:
            raise SystemExit(f"{path}: {name} differs by {difference:.3f}, expected at most {LIMIT}")
        results[name]["difference"] = difference
    for result in results.values():
        rounds = zip(result["turns"], results[OURS]["turns"])
        result["ratio"] = statistics.median(theirs / ours for theirs, ours in rounds)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frames", description="Frames and photographs to predictions.")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; figures are their medians (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn, about (default %(default)s)")
    parser.add_argument("--before", metavar="CHECKOUT", help="a checkout of other code to measure in the same run")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    # The contestants' processes inherit it before they import anything.
    os.environ["MINISQX_NUM_THREADS"] = "1"
    facts = describe(PACKAGES) | {"threads": 1, "repeats": options.repeats, "model": MODEL}
    print(f"{facts['cpu']}, 1 thread, medians of {options.repeats} rounds; times as long as {OURS}, and what answers differ by")
    rows = []
    with tempfile.TemporaryDirectory(prefix="minisqx-frames-") as name:
        for kind, width, height in ROWS:
            path = write(Path(name), kind, width, height)
            results = measure_row(path, options.before, options.repeats, options.seconds)
            rows.append({"kind": kind, "width": width, "height": height, "bytes": os.path.getsize(path), "results": results})
            others = "  ".join(
                f"{other} {result['ratio']:5.2f} x ({result['difference']:.3f})"
                for other, result in results.items()
                if other != OURS
            )
            print(f"  {kind:16} {width} x {height:<5} {1e3 * results[OURS]['median']:8.3f} ms  {others}", flush=True)
            os.remove(path)
    options.output.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
