"""Inference against ONNX Runtime and OpenVINO: `python -m benchmarks.inference`.

One image on one thread, as on an edge device: latency, median and 99th percentile. A batch of 128 on two threads: images/s. All
in float32, from a normalised input in memory, in the contestant's own layout, to its logits as an array; decoding and
normalising are not included. Each contestant has its own process, and they take turns (`turns.py` explains why); ratios are
computed per round. Before that, all logits are compared with PyTorch in float64. Start-up, with all compilation, is reported
separately. For each figure the better of the two peers counts.
"""

import argparse
import json
import os
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.turns import Contestant, ContestantError
from minisqx.spec import NetworkSpec
from minisqx.spec.squeezenext import SqueezeNextSpec

ROWS = (
    (0.2, (1, 1, 1, 1), 1, 1),
    (0.5, (1, 1, 4, 1), 1, 1),
    (1.0, (1, 1, 1, 1), 1, 1),
    (0.2, (1, 1, 1, 1), 128, 2),
    (1.0, (1, 1, 1, 1), 128, 2),
)
RESULTS = Path(__file__).parent / "results" / "inference.json"
OURS = "minisqx"
# Relative error of the vector of logits against float64: float32 rounding gives about 1e-6.
LIMIT = 1e-5
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "torch", "onnxruntime", "openvino")
UNMEASURED_CALLS = 20
MAX_CALLS = 20_000


class Calls:
    """A contestant: `call()` computes the logits of the input that it was built with."""

    def call(self) -> np.ndarray:
        """Logits (N, classes)."""
        raise NotImplementedError

    def outcome(self) -> np.ndarray:
        """The logits, as a copy."""
        return np.array(self.call())

    def turn(self, seconds: float) -> np.ndarray:
        """Seconds of each call, in a turn of about `seconds`."""
        for _ in range(UNMEASURED_CALLS):
            self.call()
        found, clock = [], time.perf_counter
        end = clock() + seconds
        while len(found) < MAX_CALLS:
            start = clock()
            self.call()
            now = clock()
            found.append(now - start)
            if now > end:
                break
        return np.array(found)


class Ours(Calls):
    """minisqx: a network's plan."""

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray], x: np.ndarray, threads: int) -> None:
        import minisqx
        from minisqx.machine.threads import use_threads

        use_threads(threads)
        net = minisqx.Network(spec)
        net.load_state_dict(state)
        self.plan = net.plan()
        self.layout = self.plan.layout(len(x), *x.shape[2:])
        self.data = self.layout.pack(x, self.layout.empty(3, np.float32))

    def call(self) -> np.ndarray:
        return self.plan.run(self.data, self.layout)


class OnnxRuntime(Calls):
    """ONNX Runtime with all its optimisations, on the same threads."""

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray], x: np.ndarray, threads: int) -> None:
        import onnxruntime

        from benchmarks.onnx_graph import onnx_model

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = onnx_model(spec, state, len(x)).SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = {"x": x}

    def call(self) -> np.ndarray:
        return self.session.run(None, self.inputs)[0]


class OpenVino(Calls):
    """OpenVINO for latency, in float32 (its default may be bfloat16), with one request that reuses its tensors."""

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray], x: np.ndarray, threads: int) -> None:
        import openvino

        from benchmarks.onnx_graph import onnx_model

        core = openvino.Core()
        model = core.read_model(onnx_model(spec, state, len(x)).SerializeToString())
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()
        self.request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(x), shared_memory=True))

    def call(self) -> np.ndarray:
        self.request.infer()
        return self.request.get_output_tensor().data


class Reference:
    """PyTorch in float64."""

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray], x: np.ndarray, threads: int) -> None:
        from tests import torch_twin

        self.twin, self.x = torch_twin.TorchTwin(spec).double().eval(), x
        torch_twin.to_torch(state, self.twin)

    def outcome(self) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self.twin(torch.as_tensor(self.x).double()).numpy()


PEERS = {"ONNX Runtime": OnnxRuntime, "OpenVINO": OpenVino}


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


def check(logits: np.ndarray, exact: np.ndarray) -> float:
    """The relative error of the logits. Raises ContestantError if it exceeds `LIMIT`."""
    error = float(np.linalg.norm(logits - exact) / np.linalg.norm(exact))
    if not error <= LIMIT:
        raise ContestantError(f"wrong results: logits off by {error:.1e}")
    return error


def row(spec: NetworkSpec, batch_size: int, threads: int, repeats: int, seconds: float) -> dict[str, object]:
    """One row of the table, as plain JSON types."""
    generator = np.random.default_rng(0)
    common = {
        "spec": spec,
        "state": trained_state(spec, generator),
        "x": generator.normal(size=(batch_size, 3, *spec.input_size)).astype(np.float32),
        "threads": threads,
    }
    contestants, results = [], {}
    with ExitStack() as stack:
        reference = Contestant("reference", Reference, common)
        exact = reference.call("outcome")
        reference.close()
        for name, build in {**PEERS, OURS: Ours}.items():
            print(f"{spec.name}, batch {batch_size}: starting {name}", file=sys.stderr, flush=True)
            start = time.perf_counter()
            contestant = Contestant(name, build, common)
            stack.callback(contestant.close)
            error = check(contestant.call("outcome"), exact)
            results[name] = {"error": error, "start_seconds": round(time.perf_counter() - start, 2)}
            contestants.append(contestant)
        turns: dict[str, list[np.ndarray]] = {contestant.name: [] for contestant in contestants}
        for _ in range(repeats):
            for contestant in contestants:
                turns[contestant.name].append(contestant.call("turn", seconds))
    figures = {"median": lambda calls: float(np.median(calls)), "p99": lambda calls: float(np.percentile(calls, 99))}
    for name, measured in turns.items():
        for figure, of in figures.items():
            microseconds = [1e6 * of(calls) for calls in measured]
            results[name][f"{figure}_us"] = round(statistics.median(microseconds), 1)
            results[name][f"{figure}_us_of_turns"] = [round(us, 1) for us in microseconds]
        results[name]["images_per_second"] = round(batch_size / results[name]["median_us"] * 1e6)
    found = {"network": spec.name, "batch_size": batch_size, "threads": threads, "contestants": results}
    for figure in figures:
        key = f"{figure}_us"
        best = min(PEERS, key=lambda name: results[name][key])
        ratios = [theirs / ours for ours, theirs in zip(results[OURS][f"{key}_of_turns"], results[best][f"{key}_of_turns"])]
        found[figure] = {
            "best_peer": best,
            "ratio": round(statistics.median(ratios), 2),
            "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    return found


def print_row(found: dict) -> None:
    """Prints the table of one row."""
    print(f"\n{found['network']}, batch {found['batch_size']}, {found['threads']} thread{'s' * (found['threads'] > 1)}")
    print(f"  {'':14} {'median':>11} {'99 %':>11} {'images/s':>10} {'start':>8} {'logits off by':>14}")
    for name, result in found["contestants"].items():
        times = f"{result['median_us']:8,.1f} us {result['p99_us']:8,.1f} us"
        print(f"  {name:14} {times} {result['images_per_second']:10,} {result['start_seconds']:6.2f} s {result['error']:14.1e}")
    for figure, words in (("median", "median"), ("p99", "99th percentile")):
        contest = found[figure]
        low, high = contest["ratio_range"]
        print(f"  {contest['best_peer']} / {OURS}, {words}: {contest['ratio']:.2f} (rounds {low:.2f} - {high:.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inference", description="Inference of minisqx against ONNX Runtime and OpenVINO."
    )
    parser.add_argument("--repeats", type=int, default=9, help="rounds; figures are their median (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (default %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    # A plan divides its chunks among Python threads, so Numba's threading layer is not used.
    facts = describe(PACKAGES) | {"repeats": options.repeats, "turn_seconds": options.seconds, "threading_layer": None}
    print(f"{facts['cpu']}, float32, median of {options.repeats} turns")
    found = []
    for width, blocks, batch_size, threads in ROWS:
        # The contestants' processes inherit these before they import anything.
        for variable in ("OMP_NUM_THREADS", "MINISQX_NUM_THREADS"):
            os.environ[variable] = str(threads)
        found.append(row(SqueezeNextSpec(width, blocks), batch_size, threads, options.repeats, options.seconds))
        print_row(found[-1])
    options.output.write_text(json.dumps(facts | {"rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
