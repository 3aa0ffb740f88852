"""Inference against other engines: `python -m benchmarks.inference`.

One image on one thread, as on an edge device, and a batch of 128 on two threads: from a normalised input in memory, in the
contestant's own layout, to its logits as an array; decoding and normalising are not included. Every engine runs at its best
settings, of which several compete: batch norm folded into other layers (`folding.py`) or left to the engine, the batch at once or
in chunks on two streams. Those in float32 count; bfloat16 and int8 stand in a table apart, with what their logits are off by.

Each contestant has its own process, and they take turns (`turns.py` explains why); ratios are computed per round. Before that,
all logits are compared with PyTorch in float64. An engine that can't run is named with the reason.
"""

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.engines.engine import Copies, Engine, Network, Size
from benchmarks.engines.litert import LiteRt
from benchmarks.engines.ncnn import Ncnn
from benchmarks.engines.onnx_runtime import OnnxRuntime
from benchmarks.engines.openvino import OpenVino
from benchmarks.engines.ours import Ours
from benchmarks.engines.pytorch import PyTorch
from benchmarks.machine import describe, keep_row
from benchmarks.turns import Contestant, ContestantError, ratios, take_turns
from minisqx.spec import NetworkSpec, zoo

NETWORKS = ("shallow-06-0.2x", "shallow-09-0.5x", "shallow-06-1x", "squeezenet-v1.1", "squeezenext-23-1x-v5")
COMPILED = NETWORKS[:3]  # by PyTorch, which takes more than five minutes for the deepest
SIZES = ((1, 1), (128, 2))  # batch size, threads
RESULTS = Path(__file__).parent / "results" / "inference.json"
OURS = "minisqx"
# Relative error of the vector of logits against float64: float32 rounding gives about 1e-6, bfloat16 1e-2, int8 1e-1.
LIMITS = {"float32": 1e-5, "bfloat16": 0.1, "int8": 0.5}
CALIBRATING = 64  # images, for int8
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "torch", "onnxruntime", "openvino", "ai-edge-litert", "ncnn", "pnnx", "nncf")


@dataclass(frozen=True)
class Variant:
    """An engine with settings. chunk: of the batch, for copies of the engine on a thread each. options: of the engine's class."""

    engine: type[Engine]
    precision: str = "float32"
    folded: bool = True
    chunk: int | None = None
    options: dict[str, object] = field(default_factory=dict)

    def file(self, folder: Path) -> Path:
        """The engine's file of the network; bfloat16 starts from that of float32."""
        parts = (self.engine.__name__, "folded" * self.folded, "int8" * (self.precision == "int8"))
        return folder / f"{'-'.join(filter(None, parts))}.{self.engine.ending}"

    def build(self, folder: Path, size: Size, batch_size: int, threads: int) -> Engine:
        """The engine, in the process that calls this."""
        arguments = {"file": self.file(folder), "size": size, "batch_size": batch_size, "threads": threads} | self.options
        return Copies(self.engine, self.chunk, **arguments) if self.chunk else self.engine(**arguments)


def build(variant: Variant, folder: Path, x: np.ndarray, threads: int) -> Engine:
    """The contestant: an engine that has x as its input."""
    engine = variant.build(folder, x.shape[2:], len(x), threads)
    engine.fill(x)
    return engine


LOWER = {"precision": "bfloat16"}
ONE_IMAGE = {
    "OpenVINO": Variant(OpenVino, folded=False),
    "OpenVINO, folded": Variant(OpenVino),
    "LiteRT": Variant(LiteRt, folded=False),
    "LiteRT, folded": Variant(LiteRt),
    "ncnn": Variant(Ncnn, folded=False),
    "ONNX Runtime": Variant(OnnxRuntime, folded=False),
    "OpenVINO, bfloat16": Variant(OpenVino, "bfloat16", options=LOWER),
    "OpenVINO, its defaults": Variant(OpenVino, "bfloat16", options={"precision": None}),
    "ncnn, bfloat16": Variant(Ncnn, "bfloat16", options=LOWER),
    "OpenVINO, int8": Variant(OpenVino, "int8", options={"precision": "int8"}),
    "LiteRT, int8": Variant(LiteRt, "int8"),
    "ONNX Runtime, int8": Variant(OnnxRuntime, "int8"),
}
BATCHES = {
    "OpenVINO, 1 stream": Variant(OpenVino),
    "OpenVINO, 2 streams of 8": Variant(OpenVino, folded=False, options={"chunk": 8}),
    "OpenVINO, 2 streams of 8, folded": Variant(OpenVino, options={"chunk": 8}),
    "OpenVINO, 2 streams of 32, folded": Variant(OpenVino, options={"chunk": 32}),
    "LiteRT, chunks of 8": Variant(LiteRt, chunk=8),
    "ncnn": Variant(Ncnn, folded=False, chunk=1),
    "ONNX Runtime, chunks of 8": Variant(OnnxRuntime, folded=False, chunk=8),
    "PyTorch, compiled": Variant(PyTorch, folded=False),
    "OpenVINO, bfloat16": Variant(OpenVino, "bfloat16", options=LOWER | {"chunk": 8}),
    "OpenVINO, its defaults": Variant(OpenVino, "bfloat16", options={"precision": None}),
    "ncnn, bfloat16": Variant(Ncnn, "bfloat16", folded=False, chunk=1, options=LOWER),
    "OpenVINO, int8": Variant(OpenVino, "int8", options={"precision": "int8", "chunk": 8}),
    "LiteRT, int8": Variant(LiteRt, "int8", chunk=8),
    "ONNX Runtime, int8": Variant(OnnxRuntime, "int8", chunk=8),
}
OURS_ALONE = {OURS: Variant(Ours, folded=False)}


class Workshop:
    """A process that writes the engines' files, so that no converter is loaded where time is measured; and the reference.

    Converters print much and differ in how to stop it; a failure comes back as an exception all the same.
    """

    def __init__(self) -> None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nothing, stream)

    def write(self, variant: Variant, folder: Path, spec: NetworkSpec, state: dict[str, np.ndarray], samples: np.ndarray) -> None:
        """Writes the variant's file, unless another variant has the same."""
        file = variant.file(folder)
        if not file.exists():
            variant.engine.write(Network(spec, state, variant.folded), file, samples, variant.precision)

    def logits(self, spec: NetworkSpec, state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        """`exact_logits`, in this process."""
        return exact_logits(spec, state, x)


def exact_logits(spec: NetworkSpec, state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The logits of PyTorch in float64."""
    import torch

    from tests import torch_twin

    twin = torch_twin.TorchTwin(spec).double().eval()
    torch_twin.to_torch(state, twin)
    with torch.no_grad():
        return twin(torch.as_tensor(x).double()).numpy()


def trained_state(spec: NetworkSpec, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """A state with random running statistics, scales and shifts, as after training."""
    import minisqx

    state = minisqx.Network(spec).state_dict()
    for name, values in state.items():
        if name.endswith(("gamma", "running_var")):
            values[:] = generator.uniform(0.5, 1.5, values.shape)
        elif not name.endswith("weight"):
            values[:] = generator.normal(0, 0.2, values.shape)
    return state


def check(logits: np.ndarray, exact: np.ndarray, limit: float = LIMITS["float32"]) -> float:
    """The relative error of the logits. Raises ContestantError if it exceeds the limit."""
    error = float(np.linalg.norm(logits - exact) / np.linalg.norm(exact))
    if not error <= limit:
        raise ContestantError(f"wrong results: logits off by {error:.1e}")
    return error


def row(
    name: str, variants: dict[str, Variant], batch_size: int, threads: int, workshop: Contestant, repeats: int, seconds: float
) -> dict[str, object]:
    """One row of the table, as plain JSON types."""
    spec, generator = zoo.network(name), np.random.default_rng(0)
    state = trained_state(spec, generator)
    x = generator.normal(size=(batch_size, 3, *spec.input_size)).astype(np.float32)
    samples = generator.normal(size=(CALIBRATING, 3, *spec.input_size)).astype(np.float32)
    exact = workshop.call("logits", spec, state, x)
    contestants, results, absent = [], {}, {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minisqx-engines-")))
        for title, variant in variants.items():
            try:
                workshop.call("write", variant, folder, spec, state, samples)
            except ContestantError as error:
                absent[title] = error.reason
                continue
            arguments = {"variant": variant, "folder": folder, "x": x, "threads": threads}
            contestants.append(Contestant(title, build, arguments))
            stack.callback(contestants[-1].close)
        for contestant in contestants:
            precision = variants[contestant.name].precision
            try:
                error = check(contestant.call("call"), exact, LIMITS[precision])
                results[contestant.name] = {"precision": precision, "error": error}
            except ContestantError as error:
                absent[contestant.name] = error.reason
        if OURS in absent:
            raise SystemExit(f"{name}: {absent[OURS]}")
        turns = take_turns({one: seconds for one in contestants if one.name in results}, repeats)
    for title, result in results.items():
        result["turns_us"] = [round(1e6 * float(np.median(turn)), 1) for turn in turns[title]]
        result["turns_p99_us"] = [round(1e6 * float(np.percentile(turn, 99)), 1) for turn in turns[title]]
        result["median_us"] = statistics.median(result["turns_us"])
        result["p99_us"] = statistics.median(result["turns_p99_us"])
        result["images_per_second"] = round(batch_size / result["median_us"] * 1e6)
        result["ratio"] = ratios(result["turns_us"], results[OURS]["turns_us"])
    peers = [title for title, result in results.items() if result["precision"] == "float32" and title != OURS]
    best = min(peers, key=lambda title: results[title]["median_us"], default=None)
    found = {"network": name, "batch_size": batch_size, "threads": threads, "best_peer": best}
    return found | {"contestants": results, "absent": absent}


def print_row(found: dict) -> None:
    """Prints the tables of one row: float32, and below it the other precisions."""
    print(f"\n{found['network']}, batch {found['batch_size']}, {found['threads']} thread{'s' * (found['threads'] > 1)}")
    for is_float32 in (True, False):
        chosen = {name: one for name, one in found["contestants"].items() if (one["precision"] == "float32") == is_float32}
        if chosen:
            title = "float32" if is_float32 else "less precise"
            print(f"  {title:33} {'median':>12} {'99 %':>12} {'images/s':>9} {'times ours':>20} {'logits off by':>14}")
        for name, one in sorted(chosen.items(), key=lambda item: item[1]["median_us"]):
            times = f"{one['median_us']:9,.1f} us {one['p99_us']:9,.1f} us {one['images_per_second']:9,}"
            ratio = "{median:6.2f} ({lowest:.2f}-{highest:.2f})".format(**one["ratio"])
            print(f"  {name:33} {times} {ratio:>20} {one['error']:14.1e}")
    for name, reason in found["absent"].items():
        print(f"  {name:33} absent: {reason}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description="Inference against other engines.")
    parser.add_argument("--network", nargs="+", default=NETWORKS, help="networks by name (default %(default)s)")
    parser.add_argument(
        "--precision", nargs="+", choices=LIMITS, default=list(LIMITS), help="of the peers, besides float32 (default all)"
    )
    parser.add_argument("--repeats", type=int, default=9, help="rounds; figures are their median (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.15, help="length of a turn (default %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    facts = describe(PACKAGES) | {"repeats": options.repeats, "turn_seconds": options.seconds}
    print(f"{facts['cpu']}, median of {options.repeats} turns")
    workshop = Contestant("workshop", Workshop, {})
    for batch_size, threads in SIZES:
        # The contestants' processes inherit these before they import anything.
        for variable in ("OMP_NUM_THREADS", "MINISQX_NUM_THREADS"):
            os.environ[variable] = str(threads)
        for name in options.network:
            variants = OURS_ALONE | (ONE_IMAGE if batch_size == 1 else BATCHES)
            chosen = {
                title: one
                for title, one in variants.items()
                if one.precision in ("float32", *options.precision) and (one.engine is not PyTorch or name in COMPILED)
            }
            found = row(name, chosen, batch_size, threads, workshop, options.repeats, options.seconds)
            print_row(found)
            keep_row(options.output, facts, found)
    workshop.close()


if __name__ == "__main__":
    main()
