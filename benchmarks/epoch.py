"""A whole epoch of 0.2x beside PyTorch: `python -m benchmarks.epoch`.

The clock includes all that an epoch is: the shuffled order, crops (padding 4) and flips, normalisation, the training steps of
batch 128, and the test pass over 10,000 images. The 50,000 and 10,000 images, of 32 x 32 pixels, are random and lie in memory as
bytes: time does not depend on what they show. Nothing is read from disk and no checkpoint is written, on either side. minisqx
uses its own loader, which makes the next batch on a thread. PyTorch gets a loader of whole-batch operations on tensors in memory,
without worker processes; it takes part eager and compiled.

Contestants live in processes of their own and take turns, a whole epoch each; the ratio is taken round by round. Steps and
logits are held against PyTorch's float64 by `benchmarks.training` and `benchmarks.inference`; here the loaders are held against
each other: the mean and the spread of what comes out of one epoch.
"""

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.training import OURS, PACKAGES, ratios_of, summary, torch_contestants
from benchmarks.turns import Contestant, ContestantError
from minisqx.spec import NetworkSpec

TRAINING, TEST, BATCH_SIZE, MEASURING_BATCH, PADDING = 50_000, 10_000, 128, 256, 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
RESULTS = Path(__file__).parent / "results" / "epoch.json"


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 32, 32, 3) and labels int64 (count,)."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 32, 32, 3), np.uint8), generator.integers(0, 10, count)


class Epochs:
    """A contestant: `epoch()` is the whole of one; `batches()` are those of one, as arrays."""

    def timed(self) -> float:
        """Seconds of an epoch."""
        start = time.perf_counter()
        self.epoch()
        return time.perf_counter() - start


class Ours(Epochs):
    """minisqx, as its trainer goes about it."""

    def __init__(self, spec: NetworkSpec, threads: int, fraction: float) -> None:
        import minisqx
        from minisqx.data.loader import Loader
        from minisqx.threads import use_threads

        use_threads(threads)
        self.net = minisqx.ShallowSqueezeNext(**spec.to_dict())
        self.optimizer = minisqx.SGD(self.net, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
        self.cross_entropy = minisqx.cross_entropy
        common = {"mean": MEAN, "std": STD, "seed": 0}
        train, test = images(int(TRAINING * fraction), 0), images(int(TEST * fraction), 1)
        self.train = Loader(*train, BATCH_SIZE, augment=True, **common)
        self.test = Loader(*test, MEASURING_BATCH, augment=False, shuffle=False, **common)
        self.number = 0

    def epoch(self) -> None:
        for batch in self.train.epoch(self.number):
            _, dlogits = self.cross_entropy(self.net.forward(batch, training=True), batch.labels)
            self.net.backward(dlogits)
            self.optimizer.step()
        plan, right = self.net.plan(), 0
        for batch in self.test.epoch(0):
            right += (plan.run(batch.data, batch.layout).argmax(axis=1) == batch.labels).sum()
        self.number += 1

    def statistics(self) -> tuple[float, float, int]:
        """Mean, standard deviation and number of the values of an epoch's batches."""
        found = [batch.layout.unpack(batch.data).astype(np.float64) for batch in self.train.epoch(0)]
        return moments(found)


class TorchEpochs(Epochs):
    """PyTorch: the twin of the tests, and batches cut from padded images by one gather each."""

    def __init__(self, spec: NetworkSpec, threads: int, fraction: float, memory_format: str, compiled: bool) -> None:
        import torch

        from benchmarks.torch_peer import FORMATS
        from tests import torch_twin

        torch.set_num_threads(threads)
        self.torch, self.format = torch, FORMATS[memory_format]
        self.twin = torch_twin.TorchTwin(spec).to(memory_format=self.format)
        self.run = torch.compile(self.twin) if compiled else self.twin
        self.optimizer = torch.optim.SGD(
            self.twin.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )
        train, test = images(int(TRAINING * fraction), 0), images(int(TEST * fraction), 1)
        self.labels, self.test_labels = (torch.as_tensor(labels) for _, labels in (train, test))
        pixels, self.test = (torch.as_tensor(x).permute(0, 3, 1, 2).contiguous() for x, _ in (train, test))
        self.padded = torch.nn.functional.pad(pixels, (PADDING,) * 4)
        self.mean, self.std = (255 * torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        self.side = torch.arange(32)

    def normalised(self, pixels):
        return ((pixels - self.mean) / self.std).contiguous(memory_format=self.format)

    def batches(self):
        """x (N, 3, 32, 32) and labels (N,) of one epoch, shuffled and augmented."""
        torch, count = self.torch, len(self.labels)
        for indices in torch.randperm(count).split(BATCH_SIZE):
            down, right = torch.randint(0, 2 * PADDING + 1, (2, len(indices), 1))
            columns = right + self.side
            columns = torch.where(torch.rand(len(indices), 1) < 0.5, columns.flip(1), columns)
            rows = (down + self.side)[:, None, :, None]
            picked = self.padded[
                indices[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns[:, None, None, :]
            ]
            yield self.normalised(picked), self.labels[indices]

    def epoch(self) -> None:
        torch, cross_entropy = self.torch, self.torch.nn.functional.cross_entropy
        self.twin.train()
        for x, labels in self.batches():
            self.optimizer.zero_grad(set_to_none=True)
            cross_entropy(self.run(x), labels).backward()
            self.optimizer.step()
        self.twin.eval()
        right = 0
        with torch.no_grad():
            for x, labels in zip(self.test.split(MEASURING_BATCH), self.test_labels.split(MEASURING_BATCH)):
                right += (self.run(self.normalised(x)).argmax(1) == labels).sum()

    def statistics(self) -> tuple[float, float, int]:
        """Mean, standard deviation and number of the values of an epoch's batches."""
        return moments([x.double().numpy() for x, _ in self.batches()])


def moments(batches: list[np.ndarray]) -> tuple[float, float, int]:
    """Mean, standard deviation and number of all values."""
    values = np.concatenate([batch.ravel() for batch in batches])
    return float(values.mean()), float(values.std()), values.size


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description="A whole epoch beside PyTorch.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7, help="epochs each; figures are their median (default %(default)s)")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the images (default %(default)s)")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--output", type=Path, default=RESULTS, help="result file (default %(default)s)")
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MINISQX_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    spec = NetworkSpec()
    common = {"spec": spec, "threads": options.threads, "fraction": options.fraction}
    chosen, absent = torch_contestants(spec, not options.no_compile)
    facts = describe(PACKAGES) | {"threads": options.threads, "repeats": options.repeats, "fraction": options.fraction}
    print(
        f"{facts['cpu']}, {options.threads} threads, {spec.name}, {options.fraction:g} of an epoch, median of {options.repeats}"
    )
    with ExitStack() as stack:
        contestants = [Contestant(name, TorchEpochs, common | own) for name, own in chosen.items()]
        contestants.append(Contestant(OURS, Ours, common))
        for contestant in contestants:
            stack.callback(contestant.close)
        found = [contestant.call("statistics") for contestant in contestants]
        # Crops and flips are drawn by other numbers: a hundredth of a standard deviation is ten times what that makes.
        if any(
            count != found[0][2] or abs(mean - found[0][0]) > 0.01 or abs(std - found[0][1]) > 0.01 for mean, std, count in found
        ):
            raise ContestantError(f"the loaders differ: {found}")
        measured = {}
        for contestant in contestants:
            print(f"starting {contestant.name}", file=sys.stderr, flush=True)
            measured[contestant.name] = {"first": contestant.call("timed"), "turns": []}
        for _ in range(options.repeats):
            for contestant in contestants:
                measured[contestant.name]["turns"].append(contestant.call("timed"))
    for name, result in measured.items():
        result["median"] = float(np.median(result["turns"]))
        spread = f"{min(result['turns']):.2f} - {max(result['turns']):.2f} s"
        print(f"  {name:30} {result['median']:7.2f} s  ({spread:>15}), the first {result['first']:6.2f} s")
    best = min((name for name in measured if name != OURS), key=lambda name: measured[name]["median"])
    ratio = summary(ratios_of(measured, best))
    print(f"  {OURS} / {best}: {ratio['median']:.2f} (rounds {ratio['lowest']:.2f} - {ratio['highest']:.2f})")
    kept = facts | {"network": spec.name, "contestants": measured, "absent": absent, "best_torch": best, "ratio": ratio}
    options.output.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
