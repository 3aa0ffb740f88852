"""PyTorch trains the paper's recipe on the same files: `python -m benchmarks.truth --data cifar-10-batches-bin`.

The network is the twin of the tests. Initial weights, order of the images, crops, flips and dropout are drawn by PyTorch, by the
same rules as ours. A run that was stopped goes on after its last epoch; a result file is written when it has ended. The trainings
of ours beside it are `campaign.TRUTH`.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import campaign
from benchmarks.machine import CAMPAIGN, cpu_model
from benchmarks.reproduce import RESULTS
from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD
from minisqx.data import open_dataset
from minisqx.training.options import TrainingOptions
from minisqx.training.schedule import StepSchedule
from tests.torch_twin import TorchTwin

CROP = 4  # pixels of black around an image before it is cropped


class Run:
    """One training with `options`, stored in `folder` after each epoch."""

    def __init__(self, options: TrainingOptions, data: str, folder: Path) -> None:
        assert options.augment == "crop,flip" and options.schedule == "step" and options.validation == 0
        self.options, self.saved, parts = options, folder / "last.pt", open_dataset(data).parts
        self.images, self.labels = (torch.as_tensor(part) for part in (parts["train"].images, parts["train"].labels))
        self.test_images, self.test_labels = (torch.as_tensor(part) for part in (parts["test"].images, parts["test"].labels))
        self.mean, self.std = (torch.tensor(each).view(3, 1, 1) for each in (CIFAR10_MEAN, CIFAR10_STD))
        torch.manual_seed(options.seed)
        self.network = TorchTwin(options.network())
        for name, tensor in self.network.named_parameters():
            if tensor.ndim > 1:
                nn.init.xavier_uniform_(tensor, gain=math.sqrt(2))
            else:
                nn.init.constant_(tensor, 1.0 if name.endswith("norm.weight") else 0.0)
        self.compiled = torch.compile(self.network, dynamic=False)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=options.lr,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
            fused=True,
        )
        self.history: list[dict[str, float]] = []
        if self.saved.exists():
            state = torch.load(self.saved)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            self.history = state["history"]

    def train(self) -> None:
        """Trains to the planned end."""
        options = self.options
        schedule = StepSchedule(options.lr, options.epochs, options.milestones, options.gamma)
        while len(self.history) < options.epochs:
            began = time.perf_counter()
            for group in self.optimizer.param_groups:
                group["lr"] = schedule.lr(len(self.history))
            row = self._epoch() | {"test_accuracy": self._accuracy()}
            self.history.append(row | {"seconds": time.perf_counter() - began})
            state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "history": self.history}
            torch.save(state | {"random": torch.get_rng_state()}, self.saved.with_suffix(".new"))
            os.replace(self.saved.with_suffix(".new"), self.saved)
            print(len(self.history), self.history[-1], flush=True)

    def _epoch(self) -> dict[str, float]:
        self.network.train()
        loss_sum = correct = 0.0
        for chosen in torch.randperm(len(self.labels)).split(self.options.batch_size):
            logits, labels = self.compiled(self._drawn(self.images[chosen])), self.labels[chosen]
            loss = functional.cross_entropy(logits, labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.item() * len(chosen)
            correct += (logits.argmax(1) == labels).sum().item()
        return {"train_loss": loss_sum / len(self.labels), "train_accuracy": correct / len(self.labels)}

    def _drawn(self, images: torch.Tensor) -> torch.Tensor:
        """Each image shifted by up to `CROP` pixels, mirrored or not, and normalised: x (N, 3, H, W)."""
        count, height, width, _ = images.shape
        padded = functional.pad(images.permute(0, 3, 1, 2), (CROP,) * 4)
        tops, lefts = torch.randint(2 * CROP + 1, (2, count, 1, 1, 1))
        columns = torch.arange(width).expand(count, width)
        columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns).view(count, 1, 1, width)
        rows = torch.arange(height).view(1, 1, height, 1)
        picture = torch.arange(count).view(count, 1, 1, 1), torch.arange(3).view(1, 3, 1, 1)
        return self._normalised(padded[*picture, tops + rows, lefts + columns])

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels / 255 - self.mean) / self.std

    @torch.no_grad()
    def _accuracy(self) -> float:
        """On the test images."""
        self.network.eval()
        batches = zip(self.test_images.permute(0, 3, 1, 2).split(250), self.test_labels.split(250))
        return sum((self.network(self._normalised(x)).argmax(1) == y).sum().item() for x, y in batches) / len(self.test_labels)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description="Trains the paper's recipe in PyTorch.")
    parser.add_argument("--data", required=True, metavar="PATH", help="CIFAR-10, the official images")
    parser.add_argument("--seed", type=int, action="append", help="only this seed, more than once")
    parser.add_argument("--runs", type=Path, default=CAMPAIGN.parent, help="folder of the runs (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    given = parser.parse_args()
    os.nice(19)
    torch.set_num_threads(1)
    for training in campaign.truth():
        name, file = f"torch-{training.name}", given.results / f"torch-{training.name}.json"
        if file.exists() or given.seed and training.options.seed not in given.seed:
            continue
        folder = given.runs / name
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(training.options, given.data, folder)
        run.train()
        result = {
            "name": name,
            "options": training.options.provenance(),
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            "cpu": cpu_model(),
            "test_accuracy": run.history[-1]["test_accuracy"],
            "history": {column: [round(row[column], 6) for row in run.history] for column in run.history[0]},
        }
        file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
