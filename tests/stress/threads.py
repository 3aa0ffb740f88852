"""Many threads infer while others train, on every threading layer: every result must have the bits of a serial run.

python -m tests.stress.threads --threads 8 --calls 1000
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import threading

import numpy as np

LAYERS = ("omp", "workqueue", "tbb")
LIST_LENGTHS = (2, 9, 17, 127, 129, 140)


def jobs(images: int = 160) -> list:
    """Inputs: mostly single images of many sizes, and lists of them, some longer than one batch."""
    from PIL import Image

    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (*generator.integers(20, 80, 2), 3), np.uint8) for _ in range(images)]
    pixels = [Image.fromarray(one) if index % 3 == 0 else one for index, one in enumerate(pixels)]
    return [*pixels[:54], *([*pixels[-length:]] for length in LIST_LENGTHS)]


def models() -> list:
    """Two networks of different shapes."""
    import minisqx
    from minisqx.inference.bench import untrained
    from minisqx.spec.squeezenext import SqueezeNextSpec
    from minisqx.spec.zoo import DEFAULT

    return [minisqx.load(DEFAULT), untrained(SqueezeNextSpec(width=0.125, blocks=(1, 2, 1, 1)))]


def answer(model, job) -> bytes:
    found = model.infer(job)
    return b"".join(one.probabilities.tobytes() for one in (found if isinstance(found, list) else [found]))


def train(steps: int = 4) -> str:
    """A digest of the weights after a short training."""
    import minisqx

    net = minisqx.ShallowSqueezeNext(width=0.125, seed=1)
    optimizer, generator = minisqx.SGD(net, lr=0.1, momentum=0.9), np.random.default_rng(1)
    for _ in range(steps):
        x, labels = generator.normal(size=(24, 3, 16, 16)), generator.integers(0, 10, 24)
        net.backward(minisqx.cross_entropy(net.forward(x, training=True), labels)[1])
        optimizer.step()
    assert np.isfinite(net.flat_parameters).all()
    return hashlib.sha256(net.flat_parameters.tobytes() + net.flat_buffers.tobytes()).hexdigest()


def stress(threads: int, calls: int, trainers: int = 2) -> dict[str, int]:
    """The numbers of inference results and trainings in this process, and how many of each were right."""
    from minisqx.machine.threads import use_threads

    use_threads(2)
    work, nets = jobs(), models()
    expected = [[answer(net, job) for job in work] for net in nets]
    trained = train()
    counts = dict.fromkeys(("answers", "right answers", "trainings", "right trainings"), 0)
    lock, done = threading.Lock(), threading.Event()

    def count(what: str, right: bool) -> None:
        with lock:
            counts[what] += 1
            counts[f"right {what}"] += right

    def infers(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(calls):
            net, job = chosen.randrange(len(nets)), chosen.randrange(len(work))
            if isinstance(work[job], list) and chosen.random() < 0.5:
                job = chosen.randrange(54)
            count("answers", answer(nets[net], work[job]) == expected[net][job])

    def trains() -> None:
        while not done.is_set():
            count("trainings", train() == trained)

    callers = [threading.Thread(target=infers, args=(seed,)) for seed in range(threads)]
    teachers = [threading.Thread(target=trains) for _ in range(trainers)]
    for thread in (*teachers, *callers):
        thread.start()
    for thread in callers:
        thread.join()
    done.set()
    for thread in teachers:
        thread.join()
    return counts


def run(layer: str, threads: int, calls: int) -> bool | None:
    """Whether one layer passes, in its own process; None if it is not installed."""
    command = [sys.executable, "-m", "tests.stress.threads", "--inside", "--threads", str(threads), "--calls", str(calls)]
    environment = os.environ | {"NUMBA_THREADING_LAYER": layer}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        if "No threading layer could be loaded" in ended.stderr:
            print(f"{layer}: not installed, skipped")
            return None
        print(f"{layer}: ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
        return False
    used, counts = json.loads(ended.stdout)
    print(
        f"{used}: {threads} threads x {calls} calls: {counts['right answers']} of {counts['answers']} answers bit-equal to"
        f" serial; {counts['right trainings']} of {counts['trainings']} trainings beside them, from 2 threads, bit-equal",
        flush=True,
    )
    return (
        used == layer
        and counts["right answers"] == counts["answers"] == threads * calls
        and counts["right trainings"] == counts["trainings"] > 0
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--layers", nargs="+", default=LAYERS, choices=LAYERS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        counts = stress(args.threads, args.calls)
        from minisqx.kernels.compiler.alone import threading_layer

        print(json.dumps([threading_layer(), counts]))
        return 0
    found = [run(layer, args.threads, args.calls) for layer in args.layers]
    return 0 if False not in found and True in found else 1


if __name__ == "__main__":
    sys.exit(main())
