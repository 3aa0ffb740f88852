"""Training runs of less than a second with compiled kernels, and the results in which two runs must agree."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest

from minisqx.checkpoint import load_checkpoint
from minisqx.training import resume, train
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import COLUMNS, RunFolder
from minisqx.training.trainer import Trainer

# 53 training images in batches of 13 after 7 are set aside: the last batch of an epoch has 1 image.
SMALL = {"width": 0.125, "epochs": 3, "batch_size": 13, "validation": 7, "threads": 1, "recipe": "paper"}


def write_data(
    path: Path, images: int = 60, classes: tuple[str, ...] = ("red", "green", "blue"), seed: int = 0, side: int = 12
) -> Path:
    """Writes noise with more of one colour for each class, which a working network can classify after one epoch."""
    generator = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        for part, count in (("", images), ("test_", 20)):
            labels = np.arange(count) % len(classes)
            pixels = generator.integers(0, 120, (count, side, side, 3))
            pixels[np.arange(count), :, :, labels % 3] += 60
            file[f"{part}images"], file[f"{part}labels"] = pixels.astype(np.uint8), labels
        file["classes"] = [name.encode() for name in classes]
    return path


def rows(folder: RunFolder) -> list[dict]:
    """history.csv."""
    with folder.history.open(newline="") as file:
        return list(csv.DictReader(file))


def bits(folder: RunFolder) -> tuple:
    """Everything that a repeated run must reproduce: weights, velocity, dropout's counter, and the history without its times."""
    last = load_checkpoint(folder.last)
    arrays = {name: array.tobytes() for name, array in (last.state | last.optimizer).items()}
    history = [{name: row[name] for name in COLUMNS[:8]} for row in rows(folder)]
    return arrays, last.training["dropout_step"], history, load_checkpoint(folder.best).metrics["epoch"]


def run(data, folder, **options) -> RunFolder:
    return RunFolder(train(TrainingOptions(**SMALL | options, data=data, out=folder), say=lambda line: None).folder)


def stopped_and_resumed(data, folder, monkeypatch, **options) -> RunFolder:
    """The same run, killed in its second epoch and continued on two threads."""
    plain = Trainer._train_batch

    def killed(trainer, batch):
        if trainer.state.epoch == 1 and trainer.state.batch == 2:
            trainer.save()
            raise MemoryError
        return plain(trainer, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_batch", killed)
        with pytest.raises(MemoryError):
            run(data, folder, **options)
    resume(folder, say=lambda line: None, threads=2)
    return RunFolder(folder)
