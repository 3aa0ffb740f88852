"""Exported C against onnx2c's and our own inference: `python -m benchmarks.c_code --onnx2c PATH`.

One image on one thread, from memory to logits. `minisqx export net.c` takes an image's pixels and normalises them, minisqx and
onnx2c take normalised values. onnx2c makes C of the graph that `minisqx export net.onnx` writes; https://github.com/kraiskil/onnx2c
says how to build it. Each compiler gets -O3 -march=native for both. Contestants take turns, each in its own process, and their
logits are compared with ours in float64 first.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import minisqx
from benchmarks import inference
from benchmarks.engines.engine import Network
from benchmarks.engines.ours import Ours
from benchmarks.machine import describe
from benchmarks.turns import Calls, Contestant, ratios, take_turns
from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD
from minisqx.inference.model import Model
from minisqx.spec import zoo

NETWORKS = ("shallow-06-0.2x", "shallow-06-1x")
COMPILERS = ("gcc", "clang")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-shared", "-fPIC")
RESULTS = Path(__file__).parent / "results" / "c_code.json"
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "onnx")


class Library(Calls):
    """A function `name(input, float *logits)` of a shared library."""

    def __init__(self, file: Path, name: str, x: np.ndarray, classes: int) -> None:
        self.x, self.logits = x, np.empty((1, classes), np.float32)
        self.function = ctypes.CDLL(str(file))[name]
        self.function.restype = None
        self.arguments = [ctypes.c_void_p(array.ctypes.data) for array in (self.x, self.logits)]

    def call(self) -> np.ndarray:
        self.function(*self.arguments)
        return self.logits


def engine(file: Path, x: np.ndarray) -> Ours:
    made = Ours(file, x.shape[2:], 1, 1)
    made.fill(x)
    return made


def compiled(compiler: str, source: Path) -> Path:
    library = source.with_name(f"{source.stem}-{compiler}.so")
    subprocess.run([compiler, *FLAGS, "-o", library, source, "-lm"], check=True)
    return library


def generated(onnx2c: Path, graph: Path) -> Path:
    source = graph.with_name("generated.c")
    with source.open("wb") as file:
        subprocess.run([onnx2c, "-d", "N:1", "-f", "entry", graph], stdout=file, stderr=subprocess.DEVNULL, check=True)
    return source


def row(name: str, onnx2c: Path | None, repeats: int, seconds: float) -> dict[str, object]:
    """One network, as plain JSON types."""
    spec, generator = zoo.network(name), np.random.default_rng(0)
    state = inference.trained_state(spec, generator)
    classes = tuple(map(str, range(spec.num_classes)))
    model = Model(name, spec, state, classes, CIFAR10_MEAN, CIFAR10_STD, {}, {})
    pixels = generator.integers(0, 256, (1, *spec.input_size, 3), np.uint8)
    x = np.stack([model._values[colour][pixels[..., colour]] for colour in range(3)], axis=1)
    precise = minisqx.Network(spec, dtype="float64")
    precise.load_state_dict(state)
    exact = precise.forward(x.astype(np.float64))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minisqx-c-")))
        minisqx.export(model, folder / "net.c", static=True)
        Ours.write(Network(spec, state, True), folder / "network.pickle", x, "float32")
        builds: dict[str, tuple] = {inference.OURS: (engine, {"file": folder / "network.pickle", "x": x})}
        sources = {"net.c": (folder / "net.c", "net_logits", pixels)}
        if onnx2c is not None:
            minisqx.export(model, folder / "net.onnx")
            sources["onnx2c"] = generated(onnx2c, folder / "net.onnx"), "entry", x
        for title, (source, function, given) in sources.items():
            for compiler in COMPILERS:
                arguments = {"file": compiled(compiler, source), "name": function, "x": given, "classes": spec.num_classes}
                builds[f"{title}, {compiler}"] = Library, arguments
        contestants = [Contestant(title, build, arguments) for title, (build, arguments) in builds.items()]
        for contestant in contestants:
            stack.callback(contestant.close)
        errors = {one.name: inference.check(one.call("call"), exact) for one in contestants}
        turns = take_turns(dict.fromkeys(contestants, seconds), repeats)
    medians = {title: [round(1e6 * float(np.median(turn)), 1) for turn in found] for title, found in turns.items()}
    return {
        "network": name,
        "contestants": {
            title: {
                "error": errors[title],
                "turns_us": found,
                "median_us": statistics.median(found),
                "ratio": ratios(found, medians[inference.OURS]),
            }
            for title, found in medians.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.c_code", description="Exported C against onnx2c's and our own.")
    parser.add_argument("--onnx2c", type=Path, metavar="PATH", help="the program onnx2c (default: it is left out)")
    parser.add_argument("--network", nargs="+", default=NETWORKS, help="networks by name (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; figures are their median (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.15, help="length of a turn (default %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    versions = {name: subprocess.check_output([name, "-dumpversion"], text=True).strip() for name in COMPILERS}
    facts = describe(PACKAGES) | {"compilers": versions, "flags": list(FLAGS), "repeats": options.repeats}
    found = []
    for name in options.network:
        found.append(row(name, options.onnx2c, options.repeats, options.seconds))
        print(f"\n{name}, one image, one thread, median of {options.repeats} turns")
        for title, one in found[-1]["contestants"].items():
            ratio = "{median:6.2f} ({lowest:.2f}-{highest:.2f})".format(**one["ratio"])
            print(f"  {title:16} {one['median_us']:9,.1f} us {ratio:>20} {one['error']:10.1e}", flush=True)
    options.output.write_text(json.dumps(facts | {"turn_seconds": options.seconds, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
