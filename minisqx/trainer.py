"""The loop of a training run: batches, measurements after each epoch, checkpoints, and a clean end when one is asked for."""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata

import numpy as np

from minisqx.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minisqx.data.loader import Batch, Loader
from minisqx.errors import OptionError, TrainingError
from minisqx.interrupt import StopRequest
from minisqx.network import Network
from minisqx.optim import SGD, StepSchedule, cross_entropy
from minisqx.options import TrainingOptions
from minisqx.progress import EpochBar, epoch_line, missing_packages, three
from minisqx.run_folder import RunFolder
from minisqx.schedule import OneCycleSchedule
from minisqx.training_data import Part, TrainingData
from minisqx.warmup import compile_training

SAVE_EVERY = 60.0  # seconds between checkpoints within an epoch
MEASURING_BATCH = 256  # images


@dataclass
class RunState:
    """How far a run is, in plain numbers; kept in last.h5.

    epoch: epochs that are complete. batch: batches of the next one that are; loss_sum, correct, samples, seconds: sums over them.
    lr: the learning rate of the last batch. best_accuracy: on the validation images. history: the rows of history.csv.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    samples: int = 0
    seconds: float = 0.0
    lr: float = 0.0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    history: list[dict] = field(default_factory=list)

    def add_batch(self, loss: float, correct: int, samples: int, seconds: float) -> None:
        self.batch += 1
        self.loss_sum += loss * samples
        self.correct += correct
        self.samples += samples
        self.seconds += seconds

    def end_epoch(self, row: dict) -> None:
        self.epoch += 1
        self.batch, self.loss_sum, self.correct, self.samples, self.seconds = 0, 0.0, 0, 0, 0.0
        self.history.append(row)


def load_run(folder: RunFolder) -> tuple[Checkpoint, RunState]:
    """last.h5 and the state in it. Raises CheckpointError if the file is damaged, TrainingError if another version wrote it."""
    checkpoint = load_checkpoint(folder.last)
    training = checkpoint.training or {}
    known = set(training) == {"state", "dropout_step", "data_digest"} and set(training["state"]) == set(asdict(RunState()))
    if not known or checkpoint.optimizer is None:
        raise TrainingError(
            f"{str(folder.last)!r} has no training state that this minisqx knows: resume with the version that wrote it"
        )
    return checkpoint, RunState(**training["state"])


class Stopped(Exception):
    """The run was asked to end, by `signal`; everything is saved."""

    def __init__(self, signal) -> None:
        self.signal = signal


class Trainer:
    """One run in `folder`: new, until `restore` puts it where an earlier one stopped; `run` takes it to the planned end."""

    def __init__(
        self, options: TrainingOptions, data: TrainingData, folder: RunFolder, command: str, say: Callable[[str], object]
    ) -> None:
        self.options, self.data, self.folder, self.command, self.say = options, data, folder, command, say
        self.spec = options.network(len(data.classes), data.image_size)
        self._check_last_batch()
        self.network = Network(self.spec, seed=options.seed)
        self.optimizer = SGD(
            self.network, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov, weight_decay=options.weight_decay
        )
        self.loader = self._loader(data.train, options.batch_size, training=True)
        self.state = RunState()
        self._stop = StopRequest()
        self._saved_at = self._drawn_at = time.monotonic()

    def _check_last_batch(self) -> None:
        """Refuses at once what batch norm would refuse at the epoch's end: one image whose last map has one pixel."""
        images, batch_size = len(self.data.train), self.options.batch_size
        if (images - 1) % batch_size == 0 and any(
            layer.has_norm and layer.output_size == (1, 1) for layer in self.spec.convolutions
        ):
            raise OptionError(
                f"batch size {batch_size}: the last of {images} training images is a batch alone, too few for batch norm with"
                " images this small; choose another batch size"
            )

    def _loader(self, part: Part, batch_size: int, training: bool) -> Loader:
        return Loader(
            part.images,
            part.labels,
            batch_size,
            mean=self.data.mean,
            std=self.data.std,
            augment=training and self.options.augment == "crop-flip",
            shuffle=training,
            seed=self.options.seed,
            dtype="float32",
            larger_chunks=self.spec.larger_chunks,
        )

    def restore(self, checkpoint: Checkpoint, state: RunState) -> None:
        """Takes over what `load_run` read; raises TrainingError if it is of another network or other data."""
        training, optimizer = checkpoint.training or {}, checkpoint.optimizer or {}
        if training["data_digest"] != self.data.digest:
            raise TrainingError(
                f"{self.data.name} is not the data that {str(self.folder.path)!r} was trained on: name that with --data,"
                " or start a new run"
            )
        if checkpoint.spec != self.spec:
            raise TrainingError(
                f"{str(self.folder.config)!r} describes another network than last.h5: restore the file or start a new run"
            )
        self.network.load_state_dict(checkpoint.state)
        self.network.dropout_step = training["dropout_step"]
        self.optimizer.velocity[:] = optimizer["velocity"]
        self.state = state

    def config(self) -> dict:
        """What config.json says of the run; `options` are what a resumed run reads back."""
        data, spec = self.data, self.spec
        return {
            "command": self.command,
            "options": self.options.to_dict(),
            "network": {"name": spec.name, "parameters": spec.parameters, **spec.to_dict()},
            "data": {
                "name": data.name,
                "sha256": data.digest,
                "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
                "classes": list(data.classes),
            },
            "normalisation": {"mean": data.mean, "std": data.std, "measured": data.measured},
            "versions": versions(),
        }

    def run(self) -> None:
        """Trains to the planned end. Raises Stopped after SIGINT or SIGTERM, TrainingError if the loss is not finite."""
        for line in self._plan():
            self.say(line)
        with self._stop:
            try:
                self._save_last()
                # So that no epoch's time has it in it.
                compile_training(self.spec)
                self.folder.write_history(self.state.history)
                while self.state.epoch < self.options.epochs:
                    self._train_epoch()
                    self._finish_epoch()
            except Stopped:
                self._save_last()
                raise
            finally:
                if self.state.history:
                    self._draw()

    def _plan(self) -> list[str]:
        """What is going to happen, a line for each thing."""
        data, spec, state, batches = self.data, self.spec, self.state, len(self.loader)
        source = "measured on the training images" if data.measured else "the usual constants of CIFAR-10"
        chosen = f"best on {len(data.validation)} images set aside for validation" if len(data.validation) else "last epoch"
        begun = f", from epoch {state.epoch + 1}, batch {state.batch + 1} on" if state.epoch or state.batch else ""
        return [
            f"normalisation: mean {three(data.mean)}, standard deviation {three(data.std)} ({source})",
            f"network: {spec.name}, {spec.parameters} parameters, {spec.macs / 1e6:.3g} M multiply-adds an image",
            f"run: {self.options.epochs} x {batches} batches{begun}; best.h5: the {chosen}; in {str(self.folder.path)!r}",
            *missing_packages(),
        ]

    def _train_epoch(self) -> None:
        state = self.state
        bar = EpochBar(f"epoch {state.epoch + 1}/{self.options.epochs}", len(self.data.train), state.samples)
        began = time.perf_counter()
        try:
            for batch in self.loader.epoch(state.epoch, start=state.batch):
                loss, correct = self._train_batch(batch)
                now = time.perf_counter()
                state.add_batch(loss, correct, len(batch.labels), now - began)
                began = now
                bar.update(len(batch.labels), state.loss_sum / state.samples, state.correct / state.samples)
                if time.monotonic() - self._saved_at > SAVE_EVERY:
                    self._save_last()
                self._stop_if_asked()
        finally:
            bar.close()

    def _train_batch(self, batch: Batch) -> tuple[float, int]:
        """One step; returns the batch's mean loss and its number of right answers."""
        self.optimizer.lr = self.state.lr = self._learning_rate()
        logits = self.network.forward(batch, training=True)
        loss, dlogits = cross_entropy(logits, batch.labels)
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        self.network.backward(dlogits)
        self.optimizer.step()
        return float(loss), right_answers(logits, batch.labels)

    def _learning_rate(self) -> float:
        """Of the batch that comes next."""
        options, state = self.options, self.state
        if options.schedule == "one-cycle":
            return OneCycleSchedule(options.lr, options.epochs).lr(state.epoch + (state.batch + 0.5) / len(self.loader))
        return StepSchedule(options.lr, options.epochs, options.milestones, options.gamma).lr(state.epoch)

    def _measure(self, part: Part) -> tuple[float | None, float | None]:
        """Mean loss and accuracy of a part as in inference; None without images."""
        if not len(part):
            return None, None
        loss_sum, correct, plan = 0.0, 0, self.network.plan()
        for batch in self._loader(part, MEASURING_BATCH, training=False).epoch(0):
            logits = plan.run(batch.data, batch.layout)
            loss, _ = cross_entropy(logits, batch.labels)
            if not math.isfinite(loss):
                raise self._diverged(f"the loss in the test after the epoch is {loss}")
            loss_sum += float(loss) * len(batch.labels)
            correct += right_answers(logits, batch.labels)
            # The state still says "all batches trained": a resumed run comes straight back here.
            self._stop_if_asked()
        return round(loss_sum / len(part), 6), round(correct / len(part), 6)

    def _finish_epoch(self) -> None:
        state, began = self.state, time.perf_counter()
        validation_loss, validation_accuracy = self._measure(self.data.validation)
        test_loss, test_accuracy = self._measure(self.data.test)
        row = {
            "epoch": state.epoch + 1,
            "lr": float(f"{state.lr:.6g}"),
            "train_loss": round(state.loss_sum / state.samples, 6),
            "train_accuracy": round(state.correct / state.samples, 6),
            "validation_loss": validation_loss,
            "validation_accuracy": validation_accuracy,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "seconds": round(state.seconds + time.perf_counter() - began, 3),
            "images_per_second": round(state.samples / state.seconds, 1),
        }
        state.end_epoch(row)
        if validation_accuracy is None or validation_accuracy > state.best_accuracy:
            state.best_epoch = state.epoch
            state.best_accuracy = -1.0 if validation_accuracy is None else validation_accuracy
            save_checkpoint(self.folder.best, self._checkpoint())
        self._save_last()
        self.folder.write_history(state.history)
        self.say(epoch_line(state.history, self.options.epochs))
        if time.monotonic() - self._drawn_at > SAVE_EVERY:
            self._draw()

    def _stop_if_asked(self) -> None:
        if self._stop.signal is not None:
            raise Stopped(self._stop.signal)

    def _diverged(self, what: str) -> TrainingError:
        where = f"epoch {self.state.epoch + 1}, after batch {self.state.batch}"
        return TrainingError(
            f"{what} in {where}, at learning rate {self.state.lr:g}: start a new run with a lower --lr;"
            f" {str(self.folder.last)!r} keeps the last good state"
        )

    def _checkpoint(self, **more) -> Checkpoint:
        state = self.network.state_dict()
        if not all(np.isfinite(array).all() for array in state.values()):
            raise self._diverged("a weight is no longer a finite number")
        return Checkpoint(
            spec=self.spec,
            state=state,
            classes=self.data.classes,
            mean=self.data.mean,
            std=self.data.std,
            # In the middle of an epoch nothing has been measured with these weights.
            metrics={} if self.state.batch else self._metrics(),
            provenance={
                "data": self.data.name,
                "recipe": self.options.recipe(),
                "command": self.command,
                "versions": versions(),
            },
            **more,
        )

    def _metrics(self) -> dict[str, float]:
        last = self.state.history[-1] if self.state.history else {}
        return {name: value for name, value in last.items() if value is not None}

    def _save_last(self) -> None:
        training = {"state": asdict(self.state), "dropout_step": self.network.dropout_step, "data_digest": self.data.digest}
        save_checkpoint(self.folder.last, self._checkpoint(optimizer={"velocity": self.optimizer.velocity}, training=training))
        self._saved_at = time.monotonic()

    def _draw(self) -> None:
        self.folder.draw(self.state.history, f"{self.spec.name} on {self.data.name}, seed {self.options.seed}")
        self._drawn_at = time.monotonic()


def right_answers(logits: np.ndarray, labels: np.ndarray) -> int:
    """How many rows of logits (N, classes) are largest at their label."""
    return int(np.count_nonzero(logits.argmax(axis=1) == labels))


def versions() -> dict[str, str]:
    """Of what decides the bits of a result."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in ("minisqx", "numpy", "numba")}}
