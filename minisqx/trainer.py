"""The loop of a training run: batches, measurements after each epoch, checkpoints, and a clean end when one is asked for."""

import math
import platform
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from importlib.util import find_spec

import numpy as np

from minisqx.checkpoint import Checkpoint, save_checkpoint
from minisqx.data.loader import Batch, Loader
from minisqx.errors import TrainingError
from minisqx.interrupt import StopRequest
from minisqx.network import ShallowSqueezeNext
from minisqx.optim import SGD, StepSchedule, cross_entropy
from minisqx.options import TrainingOptions
from minisqx.progress import EpochBar
from minisqx.run_folder import RunFolder
from minisqx.schedule import OneCycleSchedule
from minisqx.training_data import Part, TrainingData

SAVE_EVERY = 60.0  # seconds between checkpoints within an epoch
MEASURING_BATCH = 256  # images
COMPILING_AFTER = 3.0  # seconds: what lies in the cache is loaded by then


@dataclass
class RunState:
    """How far a run is, in plain numbers; kept in last.h5.

    epoch: epochs that are complete. batch: batches of the next one that are; loss_sum, correct, samples, seconds: sums over them.
    history: the rows of history.csv.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    samples: int = 0
    seconds: float = 0.0
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
        self.network = ShallowSqueezeNext.from_spec(self.spec, seed=options.seed)
        self.optimizer = SGD(
            self.network, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov, weight_decay=options.weight_decay
        )
        self.loader = self._loader(data.train, options.batch_size, training=True)
        self.state = RunState()
        self._stop = StopRequest()
        self._saved_at = self._drawn_at = time.monotonic()

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
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes network, optimizer and state from last.h5; raises TrainingError if they are of another network or other data."""
        training = checkpoint.training
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
        self.optimizer.velocity[:] = checkpoint.optimizer["velocity"]
        self.state = RunState(**training["state"])

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
        self._say_plan()
        with self._stop:
            try:
                self._save_last()
                self._warm_up()
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

    def _say_plan(self) -> None:
        data, spec, folder = self.data, self.spec, self.folder
        aside = (
            f"{len(data.validation)} of the training images choose best.h5"
            if len(data.validation)
            else "best.h5 is the last epoch"
        )
        self.say(f"validation: {aside}")
        source = "measured on these training images" if data.measured else "CIFAR-10's usual constants"
        self.say(f"normalisation: mean {three(data.mean)}, standard deviation {three(data.std)} ({source})")
        self.say(f"network: {spec.name}, {spec.parameters} parameters, {spec.macs / 1e6:.3g} M multiply-adds an image")
        begun = (
            f"epoch {self.state.epoch + 1} after {self.state.batch} of {len(self.loader)} batches, "
            if self.state.samples or self.state.epoch
            else ""
        )
        self.say(f"run: {begun}{self.options.epochs} epochs of {len(self.loader)} batches, in {str(folder.path)!r}")
        wanted = {"matplotlib": "curves.png"} | ({"tqdm": "progress bar"} if sys.stderr.isatty() else {})
        missing = [f"no {what} without {package}" for package, what in wanted.items() if find_spec(package) is None]
        if missing:
            self.say(f"{', '.join(missing)}: pip install 'minisqx[train]'")

    def _warm_up(self) -> None:
        """Compiles every kernel, on one image and with a network of its own, so that no epoch's time has it in it."""
        notice = threading.Timer(
            COMPILING_AFTER, self.say, ["compiling the kernels for this CPU: it takes about a minute, once ..."]
        )
        notice.daemon = True
        notice.start()
        try:
            network = ShallowSqueezeNext.from_spec(self.spec)
            one = Part(self.data.train.images[:1], self.data.train.labels[:1])
            for batch in self._loader(one, 1, training=True).epoch(0):
                network.forward(batch, training=False)
                network.backward(cross_entropy(network.forward(batch, training=True), batch.labels)[1])
                SGD(network, lr=0.0).step()
        finally:
            notice.cancel()

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
        self.optimizer.lr = self.learning_rate()
        logits = self.network.forward(batch, training=True)
        loss, dlogits = cross_entropy(logits, batch.labels)
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        self.network.backward(dlogits)
        self.optimizer.step()
        return float(loss), right_answers(logits, batch.labels)

    def learning_rate(self) -> float:
        """Of the batch that comes next."""
        options, state = self.options, self.state
        if options.schedule == "one-cycle":
            return OneCycleSchedule(options.lr, options.epochs).lr(state.epoch + (state.batch + 0.5) / len(self.loader))
        return StepSchedule(options.lr, options.epochs, options.milestones, options.gamma).lr(state.epoch)

    def _measure(self, part: Part) -> tuple[float | None, float | None]:
        """Mean loss and accuracy of a part as in inference; None without images."""
        if not len(part):
            return None, None
        loss_sum, correct = 0.0, 0
        for batch in self._loader(part, MEASURING_BATCH, training=False).epoch(0):
            logits = self.network.forward(batch, training=False)
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
            "lr": float(f"{self.optimizer.lr:.6g}"),
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
        where = f"epoch {self.state.epoch + 1}, after {self.state.batch} batches"
        return TrainingError(
            f"{what} in {where}, at learning rate {self.optimizer.lr:g}: start a new run with a lower --lr;"
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


def epoch_line(history: list[dict], epochs: int) -> str:
    """The newest row of `history` for people, with the time that the other epochs should take."""
    row = history[-1]
    parts = [f"epoch {row['epoch']}/{epochs}: lr {row['lr']:.3g}"]
    for split, name in (("train", "training"), ("validation", "validation"), ("test", "test")):
        if row[f"{split}_loss"] is not None:
            parts.append(f"{name} loss {row[f'{split}_loss']:.3f}, accuracy {100 * row[f'{split}_accuracy']:.1f} %")
    left = (epochs - row["epoch"]) * row["seconds"]
    parts.append(
        f"{row['images_per_second']:.0f} images/s, {row['seconds']:.0f} s" + (f", {duration(left)} left" if left else "")
    )
    return "; ".join(parts)


def three(values: tuple[float, float, float]) -> str:
    """The numbers of red, green and blue."""
    return ", ".join(f"{value:.4f}" for value in values)


def duration(seconds: float) -> str:
    """In words: 50 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
