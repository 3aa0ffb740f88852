"""What a user calls, to a label: `python -m benchmarks.calls`.

One image on one thread: an array of the network's size, a frame, a file; and 128 arrays, or 16 files, on two threads. minisqx
runs `model.infer`. Every other engine runs the same network, at its best settings (`inference.py`), behind what its documentation
does: Pillow decodes, cuts out the centre and resizes by the same filter; NumPy normalises, or OpenVINO's graph or ncnn does. Once
more with Pillow's own way to decode a JPEG at a fraction of its size (`draft`), which documentations leave out.

Beside them stand `plan.run` on a packed batch, which is our engine alone, `net.forward` and `model.probabilities`. `--before
FOLDER` measures another copy of the repository, too. Each contestant has its own process, and they take turns (`turns.py` says
why). All answers are compared: the probabilities may differ by `LIMIT`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import minisqx
from benchmarks import pictures
from benchmarks.engines.litert import LiteRt
from benchmarks.engines.ncnn import NcnnPixels
from benchmarks.engines.onnx_runtime import OnnxRuntime
from benchmarks.engines.openvino import OpenVino, OpenVinoPixels
from benchmarks.inference import OURS, PACKAGES, Variant, Workshop
from benchmarks.machine import describe
from benchmarks.turns import Calls, Contestant, ContestantError, ratios, take_turns

HERE = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "calls.json"
MODEL, SIDE, BATCH, FILES = "shallow-06-0.2x", 32, 128, 16
INFER, BEFORE = "infer", "before"
WITH_NUMPY = ("OpenVINO, NumPy", "LiteRT", "ONNX Runtime")
# Other roundings of a pixel, and blocks of 8 x 8 averaged before the filter, change a probability a little.
LIMIT = 0.05


@dataclass(frozen=True)
class Row:
    """A call of ours, and the pictures that it is given: `kind` as in `pictures.write`."""

    call: str
    kind: str
    width: int
    height: int
    images: int = 1

    @property
    def title(self) -> str:
        many = f"{self.images} x " if self.images > 1 else ""
        return f"{self.call}: {many}{self.kind}, {self.width} x {self.height}"


# Threads -> rows. Peers answer those of `infer`.
ROWS = {
    1: (
        Row("plan.run", "array", SIDE, SIDE),
        Row("net.forward", "array", SIDE, SIDE),
        Row(INFER, "array", SIDE, SIDE),
        Row(INFER, "png", SIDE, SIDE),
        Row(INFER, "array", 640, 480),
        Row(INFER, "array", 1920, 1080),
        Row(INFER, "jpg", 640, 480),
        Row(INFER, "jpg", 4000, 3000),
        Row(INFER, "progressive.jpg", 4000, 3000),
        Row(INFER, "png", 1920, 1080),
    ),
    2: (
        Row("plan.run", "array", SIDE, SIDE, BATCH),
        Row("net.forward", "array", SIDE, SIDE, BATCH),
        Row("probabilities", "array", SIDE, SIDE, BATCH),
        Row(INFER, "array", SIDE, SIDE, BATCH),
        Row(INFER, "jpg", 640, 480, FILES),
    ),
}


def sources(row: Row, path: Path) -> list:
    """The row's pictures: arrays, or names of files."""
    return [np.load(path) if row.kind == "array" else str(path)] * row.images


class Minisqx(Calls):
    """minisqx of the copy of the repository in `folder`."""

    def __init__(self, folder: str, threads: int) -> None:
        sys.path.insert(0, folder)
        import minisqx

        if Path(minisqx.__file__).parents[1] != Path(folder):
            raise ImportError(f"{folder}: expected a copy of the repository, and {minisqx.__file__} was imported")
        self.model = minisqx.load(MODEL)

    def prepare(self, row: Row, path: Path) -> None:
        """Sets the call and what it is given."""
        model, many = self.model, sources(row, path)
        images = np.stack(many) if row.kind == "array" else many
        given = images if row.images > 1 else many[0]
        if row.call == INFER:
            self.call = lambda: self._labels(model.infer(given))
        elif row.call == "probabilities":
            self.call = lambda: model.probabilities(given)
        else:
            mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (model.mean, model.std))
            x = ((images.transpose(0, 3, 1, 2).astype(np.float32) / 255) - mean) / std
            self.call = self._engine(row, np.ascontiguousarray(x))

    def _engine(self, row: Row, x: np.ndarray) -> Callable[[], np.ndarray]:
        net = self.model.network
        if row.call == "net.forward":
            return lambda: net.forward(x)
        plan = net.plan()
        layout = plan.layout(*x.shape[::2], x.shape[3])
        data = layout.pack(x, layout.empty(3, np.float32))
        return lambda: plan.run(data, layout)

    def _labels(self, answer) -> list[str]:
        self.answers = answer if isinstance(answer, list) else [answer]
        return [one.label for one in self.answers]

    def probabilities(self) -> np.ndarray:
        """Of the last call of `infer`: (images, classes)."""
        self.call()
        return np.stack([one.probabilities for one in self.answers])


class Pipeline(Calls):
    """Pillow, NumPy and another engine. draft: whether Pillow decodes a JPEG at a fraction of its size."""

    def __init__(self, variant: Variant, folder: Path, threads: int, draft: bool = False) -> None:
        self.variant, self.folder, self.threads, self.draft, self.engine = variant, folder, threads, draft, None
        model = minisqx.load(MODEL)
        self.classes = model.classes
        self.mean, self.std = (np.array(values, np.float32) for values in (model.mean, model.std))

    def prepare(self, row: Row, path: Path) -> None:
        """Sets what `call` is given."""
        self.images = sources(row, path)
        if self.engine is None or len(self.engine.x) != row.images:
            self.engine = self.variant.build(self.folder, (SIDE, SIDE), row.images, self.threads)

    def call(self) -> list[str]:
        x = self.engine.x
        for number, image in enumerate(self.images):
            pixels = image if isinstance(image, np.ndarray) and image.shape[0] == SIDE else self._resized(image)
            if x.dtype == np.uint8:
                x[number] = pixels
            else:
                x[number] = ((np.asarray(pixels, np.float32) / 255 - self.mean) / self.std).transpose(2, 0, 1)
        self.logits = self.engine.call()
        return [self.classes[index] for index in self.logits.argmax(1)]

    def _resized(self, source: np.ndarray | str) -> np.ndarray:
        """The largest square in the centre, resized as minisqx does it."""
        image = Image.fromarray(source) if isinstance(source, np.ndarray) else Image.open(source)
        if self.draft:
            image.draft(None, (3 * SIDE, 3 * SIDE))  # three times the size, as Image.thumbnail does
        image = image.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))

    def probabilities(self) -> np.ndarray:
        """Of the last call: (images, classes)."""
        self.call()
        powers = np.exp(self.logits - self.logits.max(1, keepdims=True), dtype=np.float64)
        return powers / powers.sum(1, keepdims=True)


def pipelines(threads: int) -> dict[str, tuple[Variant, bool]]:
    """Name -> (engine with its settings, draft)."""
    model = minisqx.load(MODEL)
    colours = {"mean": model.mean, "std": model.std}
    streams, chunk, one = ({"chunk": 8}, 8, 1) if threads > 1 else ({}, None, None)
    in_graph = Variant(OpenVinoPixels, options=streams | colours)
    return {
        "OpenVINO, NumPy": (Variant(OpenVino, options=streams), False),
        "OpenVINO, pixels in its graph": (in_graph, False),
        "OpenVINO, pixels in its graph, draft": (in_graph, True),
        "LiteRT": (Variant(LiteRt, chunk=chunk), False),
        "ncnn": (Variant(NcnnPixels, folded=False, chunk=one, options=colours), False),
        "ONNX Runtime": (Variant(OnnxRuntime, folded=False, chunk=chunk), False),
    }


def contestants(before: Path | None, threads: int, folder: Path, workshop: Contestant, stack: ExitStack) -> list[Contestant]:
    """All of them, started together."""
    model = minisqx.load(MODEL)
    copies = {OURS: HERE} | ({BEFORE: before} if before else {})
    found = [Contestant(name, Minisqx, {"folder": str(copy), "threads": threads}) for name, copy in copies.items()]
    for name, (variant, draft) in pipelines(threads).items():
        try:
            workshop.call("write", variant, folder, model.spec, model.state, np.zeros((0, 3, SIDE, SIDE)))
        except ContestantError as error:
            print(f"{name}: absent: {error.reason}")
            continue
        found.append(Contestant(name, Pipeline, {"variant": variant, "folder": folder, "threads": threads, "draft": draft}))
    for one in found:
        stack.callback(one.close)
    return found


def measure_row(row: Row, path: Path, everyone: list[Contestant], repeats: int, seconds: float) -> dict[str, object]:
    """The results of a row, as plain JSON types: each contestant's by its name."""
    found: dict[str, object] = {"call": row.call, "kind": row.kind, "width": row.width, "height": row.height}
    found |= {"images": row.images, "bytes": os.path.getsize(path), "results": {}, "absent": {}}
    taking_part, answers = {}, {}
    for one in everyone:
        if row.call != INFER and one.name not in (OURS, BEFORE):
            continue
        if one.name.endswith("draft") and not row.kind.endswith("jpg"):
            continue
        try:
            one.call("prepare", row, path)
            if row.call == INFER:
                answers[one.name] = one.call("probabilities")
                difference = float(np.abs(answers[one.name] - answers[OURS]).max())
                if difference > LIMIT:
                    raise ContestantError(f"differs by {difference:.3f}, expected at most {LIMIT}")
                found["results"][one.name] = {"difference": difference}
            taking_part[one] = seconds
        except ContestantError as error:
            if one.name == OURS:
                raise
            found["absent"][one.name] = error.reason
    turns = take_turns(taking_part, repeats)
    medians = {name: [1e6 * float(np.median(turn)) for turn in measured] for name, measured in turns.items()}
    for name, microseconds in medians.items():
        result = found["results"].setdefault(name, {})
        result |= {"us": round(statistics.median(microseconds), 1), "turns_us": [round(each, 1) for each in microseconds]}
        result["ratio"] = ratios(microseconds, medians[OURS])
    peers = [name for name in medians if name not in (OURS, BEFORE)]
    for key, chosen in (("best_peer", peers), ("best_peer_with_numpy", [name for name in peers if name in WITH_NUMPY])):
        found[key] = min(chosen, key=lambda name: found["results"][name]["us"], default=None)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description="What a user calls, beside other engines.")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; figures are their median (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.15, help="length of a turn (default %(default)s)")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another copy of the repository to measure, too")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    facts = describe(("pillow", *PACKAGES)) | {"repeats": options.repeats, "turn_seconds": options.seconds, "model": MODEL}
    before = options.before.resolve() if options.before else None
    print(f"{facts['cpu']}, medians of {options.repeats} rounds")
    workshop, found = Contestant("workshop", Workshop, {}), []
    with tempfile.TemporaryDirectory(prefix="minisqx-calls-") as name:
        for threads, rows in ROWS.items():
            # The contestants' processes inherit these before they import anything.
            for variable in ("OMP_NUM_THREADS", "MINISQX_NUM_THREADS"):
                os.environ[variable] = str(threads)
            with ExitStack() as stack:
                everyone = contestants(before, threads, Path(name), workshop, stack)
                engine = None
                for row in rows:
                    path = pictures.write(Path(name), row.kind, row.width, row.height)
                    one = measure_row(row, path, everyone, options.repeats, options.seconds) | {"threads": threads}
                    ours = one["results"][OURS]
                    engine = engine or ours
                    if row.kind == "array" and row.width == SIDE:
                        ours["to_engine"] = round(ours["us"] / engine["us"], 2)
                    found.append(one)
                    print_row(row, one)
    workshop.close()
    options.output.write_text(json.dumps(facts | {"rows": found}, indent=1) + "\n")


def print_row(row: Row, found: dict) -> None:
    results = found["results"]
    engine = f", {results[OURS]['to_engine']:.2f} x plan.run" if "to_engine" in results[OURS] else ""
    threads = f"{found['threads']} thread{'s' * (found['threads'] > 1)}"
    print(f"\n{row.title}, {threads}: {results[OURS]['us']:,.1f} us{engine}")
    for name, one in sorted(results.items(), key=lambda item: item[1]["us"]):
        if name != OURS:
            ratio = "{median:6.2f} times ours ({lowest:.2f}-{highest:.2f})".format(**one["ratio"])
            difference = f", differs by {one['difference']:.3f}" if "difference" in one else ""
            print(f"  {name:36} {one['us']:11,.1f} us {ratio}{difference}")
    for name, reason in found["absent"].items():
        print(f"  {name:36} absent: {reason}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
