"""A whole epoch against PyTorch, of 0.2x or of any named network: `python -m benchmarks.epoch`.

The time covers the whole epoch: shuffling, crops (padding 4) and flips, normalisation, the training steps of batch 128, and the
test pass over 10,000 images. The 50,000 and 10,000 images, of 32 x 32 pixels, are random bytes in memory: time does not depend
on their content. Nothing is read from disk and no checkpoint is written, on either side; loss and accuracy are computed on both.
minisqx runs the trainer of `minisqx train`, whose loader prepares the next batch on a thread. PyTorch gets a loader of
whole-batch operations on tensors in memory, without worker processes, and runs eager and compiled.

Each contestant has its own process, and they take turns of a whole epoch; ratios are computed per round. Before that our first
step and every contestant's test pass with the same weights are compared with PyTorch in float64, and the loaders with each other,
by the mean and standard deviation of their batches over an epoch, or over several small ones. The first epoch, which compiles the
training step, is reported separately.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Sized
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import minisqx
from benchmarks.machine import describe, keep_row
from benchmarks.training import OURS, PACKAGES, check_ours, torch_peers
from benchmarks.turns import Contestant, ContestantError, ratios
from minisqx.spec import zoo

TRAINING, TEST, BATCH_SIZE, MEASURING_BATCH, PADDING, LR = 50_000, 10_000, 128, 256, 4, 0.01
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
# Relative error of the test pass's mean loss against float64; the trainer rounds the loss to six decimals.
LOSS_LIMIT = 1e-5
RESULTS = Path(__file__).parent / "results" / "epoch.json"
NETWORK = "shallow-06-0.2x"  # of the table


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 32, 32, 3) and labels int64 (count,)."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 32, 32, 3), np.uint8), generator.integers(0, 10, count)


class Epochs:
    """A contestant: `epoch()` runs one whole epoch."""

    def epoch(self) -> None:
        raise NotImplementedError

    def timed(self) -> float:
        """Seconds of an epoch."""
        start = time.perf_counter()
        self.epoch()
        return time.perf_counter() - start


class Ours(Epochs):
    """minisqx: the trainer of `minisqx train`, without its checkpoints."""

    def __init__(self, model: str, state: dict[str, np.ndarray], threads: int, fraction: float) -> None:
        from minisqx.machine.threads import use_threads
        from minisqx.training.data import Part, TrainingData
        from minisqx.training.options import TrainingOptions
        from minisqx.training.run_folder import RunFolder
        from minisqx.training.trainer import Trainer

        class Unsaved(Trainer):
            def save(self) -> None:
                pass

        use_threads(threads)
        train, test = Part(*images(int(TRAINING * fraction), 0)), Part(*images(int(TEST * fraction), 1))
        nothing = Part(train.images[:0], train.labels[:0])
        data = TrainingData("random", tuple("abcdefghij"), train, nothing, test, MEAN, STD, measured=False, digest="")
        options = TrainingOptions(model=model, batch_size=BATCH_SIZE, lr=LR)
        self.trainer = Unsaved(options, data, RunFolder(Path()), command="", say=print)
        self.trainer.network.load_state_dict(state)

    def epoch(self) -> None:
        self.trainer._train_epoch()
        self.tested()
        self.trainer.state.end_epoch({})

    def tested(self) -> float:
        """Mean loss on the test images."""
        return self.trainer._evaluate("test", self.trainer.data.test)["test_loss"]

    def statistics(self) -> tuple[float, float, int]:
        """Mean, standard deviation and number of the values in all batches of `passes` epochs."""
        loader = self.trainer.loader
        batches = (batch for number in range(passes(self.trainer.data.train)) for batch in loader.epoch(number))
        return moments([batch.layout.unpack(batch.data).astype(np.float64) for batch in batches])

    def threading_layer(self) -> str:
        import numba

        return numba.threading_layer()


class TorchEpochs(Epochs):
    """PyTorch: the twin of the tests, with a loader that crops a whole batch by one gather from padded images."""

    def __init__(
        self,
        model: str,
        state: dict[str, np.ndarray],
        threads: int,
        fraction: float,
        memory_format: str,
        compiled: bool,
    ) -> None:
        import torch

        from benchmarks.torch_peer import FORMATS
        from tests import torch_twin

        spec = zoo.network(model)
        torch.set_num_threads(threads)
        self.torch, self.format = torch, FORMATS[memory_format]
        self.twin = torch_twin.TorchTwin(spec)
        torch_twin.to_torch(state, self.twin)
        self.twin.to(memory_format=self.format)
        # One graph per batch size: otherwise the epoch's last, smaller batch makes all use a slower graph of dynamic size.
        self.run = torch.compile(self.twin, dynamic=False) if compiled else self.twin
        self.optimizer = torch.optim.SGD(
            self.twin.parameters(), lr=LR, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
        )
        train, test = images(int(TRAINING * fraction), 0), images(int(TEST * fraction), 1)
        self.labels, self.test_labels = (torch.as_tensor(labels) for _, labels in (train, test))
        pixels, self.test = (torch.as_tensor(x).permute(0, 3, 1, 2).contiguous() for x, _ in (train, test))
        padded = torch.nn.functional.pad(pixels, (PADDING,) * 4)
        of_image, of_colour, of_row, of_pixel = padded.stride()
        # Every crop of every image as a view, (N, down, right, 3, 32, 32): one indexing operation crops a batch.
        crops = (len(padded), 2 * PADDING + 1, 2 * PADDING + 1, *pixels.shape[1:])
        self.crops = padded.as_strided(crops, (of_image, of_row, of_pixel, of_colour, of_row, of_pixel))
        self.mean, self.std = (255 * torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def normalised(self, pixels):
        return pixels.float().sub_(self.mean).div_(self.std).contiguous(memory_format=self.format)

    def batches(self):
        """x (N, 3, 32, 32) and labels (N,) of one epoch, shuffled and augmented."""
        torch = self.torch
        for indices in torch.randperm(len(self.labels)).split(BATCH_SIZE):
            down, right = torch.randint(0, 2 * PADDING + 1, (2, len(indices)))
            picked = self.crops[indices, down, right]
            flipped = (torch.rand(len(indices)) < 0.5).nonzero()[:, 0]
            picked[flipped] = picked[flipped].flip(3)
            yield self.normalised(picked), self.labels[indices]

    def epoch(self) -> None:
        torch, cross_entropy = self.torch, self.torch.nn.functional.cross_entropy
        self.twin.train()
        loss_sum, right = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for x, labels in self.batches():
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.run(x)
            loss = cross_entropy(logits, labels)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.detach() * len(labels)
            right += (logits.detach().argmax(1) == labels).sum()
        self.tested()

    def tested(self, exact: bool = False) -> float:
        """Mean loss on the test images; exact: in float64, by a separate network."""
        torch, cross_entropy = self.torch, self.torch.nn.functional.cross_entropy
        run = copy.deepcopy(self.twin).double().eval() if exact else self.run
        self.twin.eval()
        loss_sum, right = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
        with torch.no_grad():
            for pixels, labels in zip(self.test.split(MEASURING_BATCH), self.test_labels.split(MEASURING_BATCH)):
                x = self.normalised(pixels)
                logits = run(x.double() if exact else x)
                loss_sum += cross_entropy(logits, labels, reduction="sum")
                right += (logits.argmax(1) == labels).sum()
        return loss_sum.item() / len(self.test_labels)

    def statistics(self) -> tuple[float, float, int]:
        """Mean, standard deviation and number of the values in all batches of `passes` epochs."""
        return moments([x.double().numpy() for _ in range(passes(self.labels)) for x, _ in self.batches()])


def passes(images: Sized) -> int:
    """The number of epochs with at least 5,000 images together: with fewer, crops and flips don't average out."""
    return -(-TRAINING // 10 // len(images))


def moments(batches: list[np.ndarray]) -> tuple[float, float, int]:
    """Mean, standard deviation and number of all values."""
    values = np.concatenate([batch.ravel() for batch in batches])
    return float(values.mean()), float(values.std()), values.size


def check_inputs(contestants: list[Contestant]) -> None:
    """Raises ContestantError if the loaders or the test passes differ; the first contestant must be PyTorch."""
    exact = contestants[0].call("tested", True)
    for contestant in contestants:
        loss = contestant.call("tested")
        if not abs(loss - exact) <= LOSS_LIMIT * exact:
            raise ContestantError(f"{contestant.name}: wrong results, loss of the test pass {loss} instead of {exact}")
    found = [contestant.call("statistics") for contestant in contestants]
    # Crops and flips use different random numbers: 0.01 standard deviations is ten times their effect.
    if any(count != found[0][2] or abs(mean - found[0][0]) > 0.01 or abs(std - found[0][1]) > 0.01 for mean, std, count in found):
        raise ContestantError(f"the loaders differ: {found}")


def contest(model: str, options: argparse.Namespace) -> dict:
    """Measures and prints one network's epochs, ours and PyTorch's; returns them as plain JSON types."""
    spec = zoo.network(model)
    state = minisqx.Network(spec).state_dict()
    few = np.random.default_rng(0).normal(size=(BATCH_SIZE, 3, 32, 32)).astype(np.float32)
    labels = np.arange(BATCH_SIZE) % spec.num_classes
    check_ours({"spec": spec, "state": state, "threads": options.threads, "x": few, "labels": labels})
    common = {"model": model, "state": state, "threads": options.threads, "fraction": options.fraction}
    chosen, absent = torch_peers(spec, not options.no_compile)
    own = {name: {key: peer.own[key] for key in ("memory_format", "compiled")} for name, peer in chosen.items()}
    with ExitStack() as stack:
        contestants = [
            Contestant(name, TorchEpochs, common | own[name]) for name, peer in chosen.items() if peer.precision == "float32"
        ]
        contestants.append(Contestant(OURS, Ours, common))
        for contestant in contestants:
            stack.callback(contestant.close)
        check_inputs(contestants)
        measured = {}
        for contestant in contestants:
            print(f"{model}: starting {contestant.name}", file=sys.stderr, flush=True)
            measured[contestant.name] = {"first": contestant.call("timed"), "turns": []}
        for _ in range(options.repeats):
            for contestant in contestants:
                measured[contestant.name]["turns"].append(contestant.call("timed"))
        layer = contestants[-1].call("threading_layer")
    print(f"\n{model}")
    for name, result in measured.items():
        result["median"] = float(np.median(result["turns"]))
        spread = f"{min(result['turns']):.2f} - {max(result['turns']):.2f} s"
        print(f"  {name:30} {result['median']:7.2f} s  ({spread:>15}), the first {result['first']:6.2f} s")
    for name, reason in absent.items():
        print(f"  {name:30} absent: {reason}")
    best = min((name for name in measured if name != OURS), key=lambda name: measured[name]["median"])
    ratio = ratios(measured[best]["turns"], measured[OURS]["turns"])
    print(f"  {OURS} / {best}: {ratio['median']:.2f} (rounds {ratio['lowest']:.2f} - {ratio['highest']:.2f})", flush=True)
    return {
        "network": model,
        "contestants": measured,
        "absent": absent,
        "best_peer": best,
        "ratio": ratio,
        "threading_layer": layer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description="A whole epoch against PyTorch.")
    parser.add_argument("--model", nargs="+", default=[NETWORK], help="networks by name (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--repeats", type=int, default=7, help="epochs per contestant; figures are their median (default %(default)s)"
    )
    parser.add_argument("--fraction", type=float, default=1.0, help="fraction of the images to use (default %(default)s)")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--output", type=Path, help="result file; by default only a run of 0.2x writes one")
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MINISQX_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    facts = describe(PACKAGES) | {"threads": options.threads, "repeats": options.repeats, "fraction": options.fraction}
    print(f"{facts['cpu']}, {options.threads} threads, {options.fraction:g} of an epoch, median of {options.repeats}")
    output = options.output or (RESULTS if options.model == [NETWORK] else None)
    for model in options.model:
        found = contest(model, options)
        if output:
            keep_row(output, facts, found)


if __name__ == "__main__":
    main()
