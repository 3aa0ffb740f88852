"""Training steps against PyTorch and TensorFlow: `python -m benchmarks.training`.

A step is forward, cross-entropy, backward and SGD (momentum 0.9, Nesterov, weight decay 1e-4) in float32, with dropout, on one
batch in memory, in the layout in which the contestant's data loader delivers it. Loading and augmentation are not included.
minisqx runs on all threads and on one; TensorFlow as one `tf.function`; PyTorch contiguous and channels-last, eager and, for the
shallow networks, compiled (SqueezeNet is slower compiled, and SqueezeNext compiles for more than five minutes). The best peer
counts. PyTorch's autocast in bfloat16 is less precise and stands apart.

Each contestant has its own process, and they take turns (`turns.py` explains why). Those of the shallow networks are started
twice, since the same PyTorch step differs by a third between processes, but only by a few percent within one. Before that,
the loss and gradients of every contestant's first step, without dropout, are compared with PyTorch in float64. The first step,
with all compilation, is reported separately. `--busy` measures all rounds a second time, beside a process that is always busy.
"""

import argparse
import os
import statistics
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.machine import describe, keep_row
from benchmarks.turns import Contestant, ContestantError, Steps, busy_process, measure, ratios
from minisqx.spec import NetworkSpec, zoo

SHALLOW = ("shallow-06-0.2x", "shallow-09-0.5x", "shallow-06-1x")
DEEP = ("squeezenet-v1.1", "squeezenet-v1.0", "squeezenext-23-1x-v5", "squeezenext-23-2x-v5")
BUSY = ("shallow-06-0.2x", "shallow-06-1x")
RESULTS = Path(__file__).parent / "results"
OURS, OURS_ALONE = "minisqx", "minisqx, one thread"
# Relative errors against float64, of the loss and of each gradient as a vector. Rounding of float32 through 30 layers gives up to
# 1e-4, a wrong term 1e-2 and more.
LOSS_LIMIT = 1e-5
GRADIENT_LIMIT = 1e-3
# A deep network with ReLU is chaotic. If PyTorch's own float32 gradients exceed GRADIENT_LIMIT: for the loss, and times PyTorch's
# error for the gradients.
CHAOTIC_LOSS_LIMIT, CHAOTIC_FACTOR = 1e-4, 10
# Relative errors of ours in float64.
EXACT_LIMIT = 1e-8
# Of the loss in bfloat16.
BFLOAT16_LIMIT = 0.05
PACKAGES = ("minisqx", "numpy", "numba", "llvmlite", "torch", "tensorflow-cpu", "tensorflow")


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


@dataclass(frozen=True)
class Peer:
    """A contestant's class and its arguments besides those of all."""

    build: type[Steps]
    own: dict[str, object]
    precision: str = "float32"


def torch_peers(spec: NetworkSpec, can_compile: bool) -> tuple[dict[str, Peer], dict[str, str]]:
    """PyTorch's contestants by name; and those that can't run, name -> reason. The first is eager and contiguous."""
    from benchmarks.torch_peer import FORMATS, TorchPeer, why_not

    found, refused = {}, {}
    for precision, modes in (("float32", (False, True)[: 1 + can_compile]), ("bfloat16", (can_compile,))):
        for compiled in modes:
            for memory_format in FORMATS:
                name = f"PyTorch {'compiled' if compiled else 'eager'}, {memory_format}{', bfloat16' * (precision == 'bfloat16')}"
                own = {"memory_format": memory_format, "compiled": compiled, "autocast": precision == "bfloat16"}
                if reason := why_not(spec, memory_format):
                    refused[name] = reason
                else:
                    found[name] = Peer(TorchPeer, own, precision)
    return found, refused


def tensorflow(**arguments) -> Steps:
    """TensorFlow's contestant; imported in its own process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from benchmarks.tensorflow_peer import TensorFlowPeer

    return TensorFlowPeer(**arguments)


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


class Reference:
    """PyTorch's first step in float64, and how far from it a float32 step may be."""

    def __init__(self, common: dict) -> None:
        from benchmarks.torch_peer import TorchPeer

        peer = Contestant("PyTorch", TorchPeer, common | {"memory_format": "contiguous", "compiled": False})
        self.exact = peer.call("outcome", "float64")
        theirs = errors(peer.call("outcome"), self.exact)[1]
        peer.close()
        chaotic = theirs > GRADIENT_LIMIT
        self.limits = (CHAOTIC_LOSS_LIMIT, CHAOTIC_FACTOR * theirs) if chaotic else (LOSS_LIMIT, GRADIENT_LIMIT)

    def check(self, contestant: Contestant, precision: str = "float32") -> dict[str, float]:
        """The errors of a contestant's first step. Raises ContestantError if one exceeds its limit."""
        limits = self.limits if precision == "float32" else (BFLOAT16_LIMIT, np.inf)
        return check(contestant.call("outcome"), self.exact, *limits)

    def check_ours(self, ours: Contestant) -> None:
        """Raises ContestantError if our first step differs, in float64 by 1e-8, or in float32."""
        check(ours.call("outcome", "float64"), self.exact, EXACT_LIMIT, EXACT_LIMIT)
        self.check(ours)


def check_ours(common: dict) -> None:
    """Raises ContestantError if our first step is wrong. common: the arguments of `Ours`."""
    with ExitStack() as stack:
        ours = Contestant(OURS, Ours, common)
        stack.callback(ours.close)
        Reference(common).check_ours(ours)


def start(common: dict, peers: dict[str, Peer], stack: ExitStack, reference: Reference | None, absent: dict[str, str]) -> dict:
    """Starts every contestant: name -> (contestant, its errors against the reference, if that is given).

    Contestants that can't run are added to `absent`, name -> reason.
    """
    contestants, found = [], {}
    for name, peer in peers.items():
        contestants.append(Contestant(name, peer.build, common | peer.own))
        stack.callback(contestants[-1].close)
    for contestant in contestants:
        print(f"{common['spec'].name}: starting {contestant.name}", file=sys.stderr, flush=True)
        try:
            if reference and contestant.name == OURS:
                reference.check_ours(contestant)
            error = reference.check(contestant, peers[contestant.name].precision) if reference else contestant.ready()
            found[contestant.name] = (contestant, error)
        except ContestantError as problem:
            absent[contestant.name] = problem.reason
    if OURS in absent:
        raise SystemExit(f"{common['spec'].name}: no contest, {absent}")
    return found


def row(name: str, options: argparse.Namespace) -> dict[str, object]:
    """One network's row, as plain JSON types."""
    import minisqx

    spec, generator, size = zoo.network(name), np.random.default_rng(0), options.batch_size
    common = {
        "spec": spec,
        "state": minisqx.Network(spec).state_dict(),
        "x": generator.normal(size=(size, 3, *spec.input_size)).astype(np.float32),
        "labels": generator.integers(0, spec.num_classes, size),
        "threads": options.threads,
    }
    peers, absent = torch_peers(spec, can_compile=name in SHALLOW)
    peers |= {"TensorFlow": Peer(tensorflow, {}), OURS: Peer(Ours, {})}
    if options.threads > 1:
        peers[OURS_ALONE] = Peer(Ours, {"threads": 1})
    results: dict[str, dict] = {}
    for number in range(options.starts if name in SHALLOW else 1):
        with ExitStack() as stack:
            found = start(common, peers, stack, None if number else Reference(common), absent)
            contestants = [contestant for contestant, _ in found.values()]
            for is_busy in (False, True)[: 1 + options.busy]:
                rounds = options.repeats if name in SHALLOW else options.repeats * options.starts
                with busy_process() if is_busy else nullcontext():
                    measured = measure(contestants, rounds, options.seconds)
                for title, one in measured.items():
                    error = {"error": found[title][1], "first_step_seconds": round(one["first_step"], 3), "turns": [], "busy": []}
                    results.setdefault(title, error)["busy" if is_busy else "turns"] += one["turns"]
        peers = {title: peers[title] for title in found}
    ours = results[OURS]
    for title, one in results.items():
        one["precision"], one["milliseconds"] = peers[title].precision, round(1e3 * statistics.median(one["turns"]), 3)
        one["images_per_second"] = round(size / statistics.median(one["turns"]), 1)
        one["ratio"] = ratios(one["turns"], ours["turns"])
        if one["busy"]:
            one["busy_over_idle"] = round(statistics.median(one["busy"]) / statistics.median(one["turns"]), 2)
    rivals = [title for title in results if title not in (OURS, OURS_ALONE) and results[title]["precision"] == "float32"]
    best = min(rivals, key=lambda title: results[title]["milliseconds"], default=None)
    return {"network": name, "best_peer": best, "contestants": results, "absent": absent}


def print_row(found: dict) -> None:
    """Prints one network's tables: float32, then bfloat16."""
    print(f"\n{found['network']}")
    print(
        f"  {'':43} {'ms':>9} {'images/s':>9} {'times ours':>20} {'busy/idle':>9} {'first step':>11} {'loss':>8} {'gradients':>9}"
    )
    in_order = sorted(found["contestants"].items(), key=lambda item: (item[1]["precision"] != "float32", item[1]["milliseconds"]))
    for name, one in in_order:
        ratio, busy = one["ratio"], f"{one['busy_over_idle']:.2f}" if one["busy"] else "-"
        spread = f"{ratio['median']:.2f} ({ratio['lowest']:.2f}-{ratio['highest']:.2f})"
        error = "".join(f" {value:8.1e}" for value in one["error"].values())
        times = f"{one['milliseconds']:9.2f} {one['images_per_second']:9,.0f} {spread:>20} {busy:>9}"
        print(f"  {name:43} {times} {one['first_step_seconds']:9.2f} s {error}")
    for name, reason in found["absent"].items():
        print(f"  {name:43} absent: {reason}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description="Training steps against other engines.")
    parser.add_argument("--network", nargs="+", help="networks by name (default: the seven of the table; two with --busy)")
    parser.add_argument("--busy", action="store_true", help="measure beside a busy process, too")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--starts", type=int, default=2, help="of the shallow networks' contestants (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds per start; figures are their median (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a turn (default %(default)s)")
    parser.add_argument("--output", type=Path, help="result file; by default only a run of the usual networks writes one")
    options = parser.parse_args()
    usual = BUSY if options.busy else (*SHALLOW, *DEEP)
    # The contestants' processes inherit these before they import anything.
    for variable in ("OMP_NUM_THREADS", "MINISQX_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    facts = describe(PACKAGES) | {"batch_size": options.batch_size, "threads": options.threads}
    turns = options.starts * options.repeats
    print(f"{facts['cpu']}, {options.threads} threads, batch {options.batch_size}, median of {turns} turns")
    output = options.output or (None if options.network else RESULTS / ("busy.json" if options.busy else "training.json"))
    for name in options.network or usual:
        found = row(name, options)
        print_row(found)
        if output:
            keep_row(output, facts | {"starts": options.starts, "rounds": turns}, found)


if __name__ == "__main__":
    main()
