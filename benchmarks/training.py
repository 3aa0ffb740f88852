"""Training throughput against PyTorch: `python -m benchmarks.training`, or one network with `--width 0.2 --blocks 1,1,1,1`.

A step is forward, cross-entropy, backward and SGD (momentum 0.9, Nesterov, weight decay 1e-4) in float32, with dropout, on one
batch in memory, in the layout in which the contestant's data loader delivers it. Loading and augmentation are not included.
minisqx runs on all threads and on one; PyTorch eager and compiled (`torch.compile`), contiguous and channels-last, and its best
counts. Each contestant has its own process, and they take turns (`turns.py` explains why). All are started three times, since the
same PyTorch step differs by a third between processes, but only by a few percent within one. Before that, the loss and gradients
of every contestant's first step, without dropout, are compared with PyTorch in float64. The first step, with all compilation, is
reported separately.
"""

import argparse
import json
import os
import statistics
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.turns import Contestant, ContestantError, Steps, measure
from minisqx.spec import NetworkSpec
from minisqx.spec.squeezenext import SqueezeNextSpec

ROWS = ((0.2, (1, 1, 1, 1)), (0.5, (1, 1, 4, 1)), (1.0, (1, 1, 1, 1)))
RESULTS = Path(__file__).parent / "results" / "training.json"
OURS, OURS_ALONE = "minisqx", "minisqx, one thread"
# Relative errors against float64, of the loss and of each gradient as a vector. Rounding of float32 through 30 layers gives up to
# 1e-4, a wrong term 1e-2 and more.
LOSS_LIMIT = 1e-5
GRADIENT_LIMIT = 1e-3
# For the loss, if PyTorch's own float32 gradients exceed GRADIENT_LIMIT.
CHAOTIC_LOSS_LIMIT = 1e-4
# Relative errors of ours in float64.
EXACT_LIMIT = 1e-8
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "torch")


class Ours(Steps):
    """minisqx with one batch in its loader's layout."""

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray], x: np.ndarray, labels: np.ndarray, threads: int) -> None:
        import minisqx
        from minisqx.data.loader import Batch
        from minisqx.kernels.layout import Layout
        from minisqx.machine.threads import use_threads

        use_threads(threads)
        layout = Layout.of_batch(len(x), *x.shape[2:], np.float32, spec.larger_chunks)
        self.batch = Batch(layout.pack(x, layout.empty(3, np.float32)), layout, labels, np.arange(len(x)))
        self.cross_entropy = minisqx.cross_entropy
        self.net = minisqx.Network(spec)
        self.net.load_state_dict(state)
        self.optimizer = minisqx.SGD(self.net, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
        self.plain = minisqx.Network(replace(spec, dropout=0.0))
        self.plain.load_state_dict(state)

    def step(self) -> None:
        self._backward(self.net)
        self.optimizer.step()

    def _backward(self, net, x=None) -> float:
        logits = net.forward(self.batch if x is None else x, training=True)
        loss, dlogits = self.cross_entropy(logits, self.batch.labels)
        net.backward(dlogits)
        return loss

    def outcome(self, dtype: str = "float32") -> tuple[float, dict[str, np.ndarray]]:
        """Loss and gradients of the first step without dropout."""
        if dtype == "float32":
            return self._backward(self.plain), self.plain.gradients()
        import minisqx

        exact = minisqx.Network(self.plain.spec, dtype=dtype)
        exact.load_state_dict(self.plain.state_dict())
        return self._backward(exact, self.batch.layout.unpack(self.batch.data)), exact.gradients()

    def threading_layer(self) -> str:
        import numba

        return numba.threading_layer()


def torch_contestants(spec: NetworkSpec, compiled: bool) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """PyTorch's contestants, name -> their own arguments; and those that can't run, name -> reason."""
    from benchmarks.torch_peer import FORMATS, why_not

    found, refused = {}, {}
    for mode in ("eager", "compiled") if compiled else ("eager",):
        for memory_format in FORMATS:
            reason = why_not(spec, memory_format)
            if reason is None:
                found[f"torch {mode}, {memory_format}"] = {"memory_format": memory_format, "compiled": mode == "compiled"}
            else:
                refused[f"torch {mode}, {memory_format}"] = reason
    return found, refused


def errors(outcome, reference) -> tuple[float, float, str]:
    """The relative errors of the loss and of the worst gradient, and that gradient's name.

    The error of a zero gradient (of a bias directly before a batch norm) is relative to the largest gradient.
    """
    (loss, gradients), (exact_loss, exact) = outcome, reference
    norms = {name: float(np.linalg.norm(value)) for name, value in exact.items()}
    least = 1e-9 * max(norms.values())
    distances = {
        name: float(np.linalg.norm(gradients[name] - value)) / (norms[name] if norms[name] > least else max(norms.values()))
        for name, value in exact.items()
    }
    worst = max(distances, key=lambda name: distances[name])
    return abs(loss - exact_loss) / exact_loss, distances[worst], worst


def check(outcome, reference, loss_limit: float = LOSS_LIMIT, gradient_limit: float = GRADIENT_LIMIT) -> dict[str, float]:
    """The two errors of `errors` by name. Raises ContestantError if one exceeds its limit."""
    loss, gradient, worst = errors(outcome, reference)
    found = {"loss": loss, "gradients": gradient}
    if not (loss <= loss_limit and gradient <= gradient_limit):
        raise ContestantError(f"wrong results: loss off by {found['loss']:.1e}, gradient of {worst} by {found['gradients']:.1e}")
    return found


def check_ours(common: dict) -> None:
    """Raises ContestantError if our first step differs from PyTorch's in float64; common: the arguments of `Ours`.

    In float64 the limit is 1e-8. In float32 it is that of `check`; but if PyTorch's own gradients exceed it, since a deep network
    with ReLU is chaotic, twice their error, and 1e-4 for the loss.
    """
    from benchmarks.torch_peer import TorchPeer

    with ExitStack() as stack:
        peer = Contestant("torch", TorchPeer, common | {"memory_format": "contiguous", "compiled": False})
        stack.callback(peer.close)
        ours = Contestant(OURS, Ours, common)
        stack.callback(ours.close)
        exact = peer.call("outcome", "float64")
        check(ours.call("outcome", "float64"), exact, EXACT_LIMIT, EXACT_LIMIT)
        try:
            check(ours.call("outcome"), exact)
        except ContestantError:
            theirs = errors(peer.call("outcome"), exact)[1]
            if theirs <= GRADIENT_LIMIT:
                raise
            check(ours.call("outcome"), exact, CHAOTIC_LOSS_LIMIT, 2 * theirs)


def contest(
    common: dict, contestants: dict[str, tuple[type[Steps], dict]], repeats: int, seconds: float, absent: dict[str, str]
) -> dict[str, dict]:
    """Starts every contestant, checks its first step and measures `repeats` rounds: `turns.measure`'s results with `error`.

    contestants: name -> its class and its arguments besides `common`; the first one that starts, PyTorch's, is the reference.
    Contestants that can't run are added to `absent`, name -> reason.
    """
    started, errors_of, reference = [], {}, None
    with ExitStack() as stack:
        for name, (build, own) in contestants.items():
            print(f"{common['spec'].name}: starting {name}", file=sys.stderr, flush=True)
            try:
                contestant = Contestant(name, build, common | own)
                stack.callback(contestant.close)
                reference = reference or contestant.call("outcome", "float64")
                errors_of[name] = check(contestant.call("outcome"), reference)
                started.append(contestant)
            except ContestantError as error:
                absent[name] = str(error)
        if OURS in absent or len(started) < 2:
            raise SystemExit(f"{common['spec'].name}: no contest, {absent}")
        measured = measure(started, repeats, seconds)
        measured[OURS]["threading_layer"] = next(each for each in started if each.name == OURS).call("threading_layer")
    return {name: found | {"error": errors_of[name]} for name, found in measured.items()}


def row(
    spec: NetworkSpec, batch_size: int, threads: int, compiled: bool, starts: int, repeats: int, seconds: float
) -> dict[str, object]:
    """One network's row, as plain JSON types: all contestants are started `starts` times, each time for `repeats` rounds."""
    import minisqx
    from benchmarks.torch_peer import TorchPeer

    generator = np.random.default_rng(0)
    common = {
        "spec": spec,
        "state": minisqx.Network(spec).state_dict(),
        "x": generator.normal(size=(batch_size, 3, *spec.input_size)).astype(np.float32),
        "labels": generator.integers(0, spec.num_classes, batch_size),
        "threads": threads,
    }
    chosen, absent = torch_contestants(spec, compiled)
    contestants = {name: (TorchPeer, own) for name, own in chosen.items()} | {OURS: (Ours, {})}
    if threads > 1:
        contestants[OURS_ALONE] = (Ours, {"threads": 1})
    measured = contest(common, contestants, repeats, seconds, absent)
    for _ in range(starts - 1):
        again = contest(common, {name: contestants[name] for name in measured}, repeats, seconds, absent)
        for name in absent.keys() & measured.keys():
            del measured[name]
        for name, found in measured.items():
            found["turns"] += again[name]["turns"]
    results = {}
    for name, found in measured.items():
        found["median"] = statistics.median(found["turns"])
        results[name] = {
            "error": found["error"],
            "images_per_second": round(batch_size / found["median"], 1),
            "turns_images_per_second": [round(batch_size / turn, 1) for turn in found["turns"]],
            "first_step_seconds": round(found["first_step"], 3),
        }
    best = min((name for name in measured if name in chosen), key=lambda name: measured[name]["median"])
    return {
        "network": spec.name,
        "width": spec.width,
        "blocks": list(spec.blocks),
        "contestants": results,
        "absent": absent,
        "best_torch": best,
        "ratio": summary(ratios_of(measured, best)),
        "speed_up": summary(ratios_of(measured, OURS_ALONE)) if OURS_ALONE in measured else None,
        "threading_layer": measured[OURS]["threading_layer"],
    }


def ratios_of(measured: dict, other: str) -> list[float]:
    """The other's time per step over ours, per round."""
    return [theirs / ours for ours, theirs in zip(measured[OURS]["turns"], measured[other]["turns"])]


def summary(ratios: list[float]) -> dict[str, float]:
    """Median, minimum and maximum of the ratios."""
    figures = {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    return {name: round(value, 3) for name, value in figures.items()}


def print_row(found: dict) -> None:
    """Prints one network's table."""
    print(f"\n{found['network']}")
    print(f"  {'':30} {'images/s':>9}  {'lowest - highest':>17}  {'first step':>10}  {'loss error':>10}  {'gradients':>9}")
    for name, result in found["contestants"].items():
        turns = result["turns_images_per_second"]
        spread = f"{min(turns):,.0f} - {max(turns):,.0f}"
        speed, first, error = result["images_per_second"], result["first_step_seconds"], result["error"]
        print(f"  {name:30} {speed:9,.0f}  {spread:>17}  {first:8.2f} s  {error['loss']:10.1e}  {error['gradients']:9.1e}")
    for name, reason in found["absent"].items():
        print(f"  {name:30} absent: {reason}")
    for other, ratio in ((found["best_torch"], found["ratio"]), (OURS_ALONE, found["speed_up"])):
        if ratio is None:
            continue
        print(f"  {OURS} / {other}: {ratio['median']:.2f} (rounds {ratio['lowest']:.2f} - {ratio['highest']:.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description="Training throughput of minisqx against PyTorch."
    )
    parser.add_argument("--width", type=float, help="measure only this width, not the three networks of the table")
    parser.add_argument("--blocks", default="1,1,1,1", help="with --width: bottlenecks per stage (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--starts", type=int, default=3, help="how many times to start all contestants (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="rounds per start; figures are the median of all (default %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (default %(default)s)")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile, which takes a minute per network to start")
    parser.add_argument("--output", type=Path, help="result file; by default only a run of all networks writes one")
    options = parser.parse_args()
    rows = ROWS if options.width is None else ((options.width, tuple(int(count) for count in options.blocks.split(","))),)
    # The contestants' processes inherit these before they import anything.
    for variable in ("OMP_NUM_THREADS", "MINISQX_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    facts = describe(PACKAGES) | {
        "batch_size": options.batch_size,
        "threads": options.threads,
        "starts": options.starts,
        "repeats": options.repeats,
    }
    turns = options.starts * options.repeats
    print(f"{facts['cpu']}, {options.threads} threads, batch {options.batch_size}, float32, median of {turns} turns")
    found = []
    for width, blocks in rows:
        spec = SqueezeNextSpec(width, blocks)
        size, starts, repeats = options.batch_size, options.starts, options.repeats
        found.append(row(spec, size, options.threads, not options.no_compile, starts, repeats, options.seconds))
        print_row(found[-1])
    output = options.output or (RESULTS if options.width is None else None)
    if output:
        output.write_text(json.dumps(facts | {"rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
