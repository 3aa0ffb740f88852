"""Trainings on several ranks: the bits of one process on any number of them, and kills of one rank.

    python -m tests.stress.ranks bits --steps 50
    python -m tests.stress.ranks kill --count 20

`bits` trains networks on 1 to 4 ranks, and once more with a stop and a resume on other numbers of ranks. Expected: one SHA-256 of
the weights and velocity each. `kill` ends one rank by `kill -9` at a random moment. Expected: within 10 s all have ended and said
why; the run resumes on another number of ranks to the bits of one process; and in each epoch each image is trained once.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from minisqx.checkpoint import load_checkpoint
from minisqx.training.run_folder import RunFolder
from tests import mpi_runs
from tests.stress.runs import Count, generator
from tests.training_runs import bits, write_data

NETWORKS = {
    "0.2x": ("--width", 0.2),
    "0.5x [1,1,4,1]": ("--width", 0.5, "--blocks", "1,1,4,1"),
    "0.2x conv-bn-act": ("--width", 0.2, "--block-order", "conv-bn-act"),
    "squeezenet-v1.1": ("--model", "squeezenet-v1.1"),
}
BATCH, STEPS_OF_AN_EPOCH, VALIDATION = 128, 10, 32
MOST_RANKS = 4
TO_THE_END = 10.0  # seconds after a kill
IMAGES, EPOCHS = 160, 8  # of a run that is killed
START_SECONDS, TRAINING_SECONDS = 3.0, 3.0


def digest(folder: Path) -> str:
    last = load_checkpoint(folder / "last.h5")
    found = hashlib.sha256()
    for name, array in sorted((last.state | last.optimizer).items()):
        found.update(name.encode() + array.tobytes())
    return found.hexdigest()


def check_bits(steps: int, names: list[str], count: Count, folder: Path) -> None:
    images = BATCH * (STEPS_OF_AN_EPOCH - 1) + 50  # the last batch is smaller, and some ranks have fewer chunks of it
    data = write_data(folder / "data.h5", images=images + VALIDATION, side=32)
    epochs = steps // STEPS_OF_AN_EPOCH

    def train(ranks: int, out: Path, run: tuple, *fault: object) -> str:
        """The digest of what these ranks leave in `out`, or how they ended. fault: of the first rank."""
        words = ("--", "train", "--distributed", *run, "--threads", 1)
        groups = [(1, ("tests.stress.child", *fault, *words)), (ranks - 1, ("tests.stress.child", *words))]
        done = mpi_runs.finish(*(group for group in groups if group[0]))
        return f"ended with {done.returncode}: {done.stderr}" if done.returncode else digest(out)

    for number, name in enumerate(names):
        new = (*NETWORKS[name], "--data", data, "--epochs", epochs, "--batch-size", BATCH, "--validation", VALIDATION)
        found = {}
        for ranks in range(1, MOST_RANKS + 1):
            out = folder / f"{number}-{ranks}"
            found[f"{ranks} ranks"] = train(ranks, out, (*new, "--out", out))
        out = folder / f"{number}-resumed"
        train(2, out, (*new, "--out", out), "--batch", steps // 2, "--signal", "SIGTERM")
        found["2, then 3"] = train(3, out, ("--resume", out))
        count.add(name, [f"{ranks}: {result}" for ranks, result in found.items() if result != found["1 ranks"]])
        print(f"{name}, {steps} steps: {found['1 ranks']}", flush=True)


def trained(logs: Path) -> dict[int, list[int]]:
    """Epoch -> the images that were trained in it, of the last process group that trained each of its batches."""
    attempts: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for file in logs.iterdir():
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            attempts[entry["epoch"], entry["batch"]][int(file.name.split("-")[0])] += entry["images"]
    epochs: dict[int, list[int]] = defaultdict(list)
    for (epoch, _), found in sorted(attempts.items()):
        epochs[epoch] += found[max(found)]
    return epochs


def check_kills(kills: int, seed: int, count: Count, folder: Path) -> None:
    random, slowest = generator(seed), 0.0
    data = write_data(folder / "data.h5", images=IMAGES + VALIDATION)
    new = ("--data", data, "--width", 0.125, "--epochs", EPOCHS, "--batch-size", 32, "--validation", VALIDATION)

    def words(out: Path, logs: Path, attempt: int) -> tuple:
        run = ("--resume", out) if (out / "last.h5").exists() else (*new, "--out", out)
        log = ("--log", logs / str(attempt), "--save-every", 0, "--slow", 0.03)
        return ("tests.stress.child", *log, "--", "train", "--distributed", *run, "--threads", 1)

    mpi_runs.finish((1, words(folder / "alone", folder, 0)))
    wanted = bits(RunFolder(folder / "alone"))
    for trial in range(1, kills + 1):
        out, logs, faults = folder / f"run-{trial}", folder / f"logs-{trial}", []
        logs.mkdir()
        ranks, then = random.sample(range(1, MOST_RANKS + 1), 2)
        ranks = max(ranks, 2)
        process = mpi_runs.start((ranks, words(out, logs, 1)))
        while len(list(logs.iterdir())) < ranks and process.poll() is None:
            time.sleep(0.01)
        # A log appears when a process begins; the data is opened and kernels are loaded before the first batch.
        moment = random.uniform(0, START_SECONDS + TRAINING_SECONDS)
        time.sleep(moment)
        victim = int(random.choice(sorted(logs.iterdir())).name.split("-")[1])
        began = time.monotonic()
        if process.poll() is None:
            os.kill(victim, signal.SIGKILL)
        output, errors = process.communicate(timeout=60)
        took = time.monotonic() - began
        slowest = max(slowest, took)
        if took > TO_THE_END:
            faults.append(f"ended after {took:.1f} s")
        if process.returncode and "killed" not in (output + errors).lower():
            faults.append(f"no line says why: {output + errors}")
        if not (out / "last.h5").exists():
            shutil.rmtree(out, ignore_errors=True)  # it was killed before its first save
        done = mpi_runs.finish((then, words(out, logs, 2)))
        if done.returncode:
            faults.append(f"not resumed: {done.stderr}")
        elif bits(RunFolder(out)) != wanted:
            faults.append("other bits")
        epochs = trained(logs)
        if sorted(epochs) != list(range(EPOCHS)) or any(sorted(found) != list(range(IMAGES)) for found in epochs.values()):
            faults.append("an image was missed or trained twice")
        count.add(f"kill {trial}", faults)
        print(f"kill {trial} of {ranks} ranks after {moment:.1f} s, then {then} ranks: all ended after {took:.1f} s", flush=True)
    print(f"the slowest end: {slowest:.1f} s")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.ranks", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("bits", "kill"))
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="steps of a run of `bits`")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NAME")
    parser.add_argument("--count", type=int, default=20, metavar="N", help="number of kills")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments")
    chosen = parser.parse_args(arguments)
    if mpi_runs.missing():
        raise SystemExit(mpi_runs.missing())
    with tempfile.TemporaryDirectory(prefix="minisqx-ranks-") as name:
        if chosen.what == "bits":
            count = Count("networks with one SHA-256 on 1 to 4 ranks, and resumed")
            check_bits(chosen.steps, chosen.networks, count, Path(name))
        else:
            count = Count("killed, ended in time, resumed to the bits of one process, each image once")
            check_kills(chosen.count, chosen.seed, count, Path(name))
    return count.end()


if __name__ == "__main__":
    sys.exit(main())
