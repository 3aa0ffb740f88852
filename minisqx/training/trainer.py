"""The training loop: batches, evaluation after each epoch, checkpoints, and an orderly stop on request."""

import gc
import math
import platform
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain, islice
from typing import Any

import numba
import numpy as np

import minisqx
from minisqx.checkpoint import Checkpoint
from minisqx.data.dataset import Part
from minisqx.data.loader import Batch, Loader
from minisqx.errors import OptionError, TrainingError
from minisqx.inference.answers import balanced, recalls
from minisqx.kernels.compiler.identity import cpu_name
from minisqx.machine.interrupt import Stopped, StopRequest
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.network import Network
from minisqx.report.content import best_epoch, is_over
from minisqx.training.average import MovingAverage
from minisqx.training.data import TrainingData
from minisqx.training.diagnosis import all_finite, diverges, first_nonfinite, first_nonfinite_gradient, first_nonfinite_output
from minisqx.training.distillation import Teacher, distillation
from minisqx.training.memory import check_training
from minisqx.training.optim import SGD, balanced_weights, cross_entropy
from minisqx.training.options import BALANCED, TrainingOptions
from minisqx.training.progress import Terminal, missing_packages, rgb_text
from minisqx.training.recipes import recipe_line
from minisqx.training.report import Reporter
from minisqx.training.run_folder import COLUMNS, NoFolder, RunFolder, reason
from minisqx.training.run_state import AVERAGED, PLAIN, RunState
from minisqx.training.schedule import OneCycleSchedule, StepSchedule, cycle
from minisqx.training.temperature import fit_temperature
from minisqx.training.transfer import Model, take_weights
from minisqx.training.warmup import compile_training

SAVE_EVERY = 60.0  # seconds between checkpoints within an epoch
EVALUATION_BATCH = 256  # images
MEASURED = ("loss", "accuracy", "balanced_accuracy", "recall")  # columns of the history, for each part
MAX_RECALLS = 120_000  # of each part; with more, classes times epochs, the history has none, since last.h5 would grow with them


class Trainer:
    """A run in `folder`, new, or with `restore` where an earlier one stopped; `run` trains to the planned end.

    command: the command line, for config.json. say: called with each line of the report. callbacks: called with a copy of each
    row of the history. screen: shows the progress. ranks: the processes that train together, each with a trainer. teacher: the
    model that the options name, from `load_teacher`. Raises OptionError if the options don't fit the data, or training needs more
    memory than is available.
    """

    def __init__(
        self,
        options: TrainingOptions,
        data: TrainingData,
        folder: RunFolder | NoFolder,
        command: str,
        say: Callable[[str], object],
        callbacks: Sequence[Callable[[dict], object]] = (),
        screen: Terminal | None = None,
        ranks: Ranks = ALONE,
        teacher: Model | None = None,
    ) -> None:
        self.ranks = ranks
        self._callbacks, self._screen = callbacks, screen or Terminal(shown=ranks.is_first)
        self.spec = options.network(len(data.classes), data.image_size)
        self.options = options.settled(len(data.train), data.is_own, self.spec)
        self._asked, options = options.recipe, self.options
        self.data, self.folder, self.command, self._print = data, folder, command, say
        self._check_last_batch()
        if options.patience is not None and not len(data.validation):
            raise OptionError(f"patience {options.patience} without validation images: expected --validation over 0")
        evaluated = max(len(data.validation), len(data.test))
        assert (teacher is None) == (options.distill is None)
        self.teacher = None if teacher is None else Teacher(teacher, data, say, ranks)
        check_training(
            self.spec,
            options.batch_size,
            len(data.train),
            evaluated,
            EVALUATION_BATCH,
            averaged=options.average > 0,
            teacher=None if teacher is None else teacher.spec,
        )
        self.network = Network(self.spec, seed=options.seed, ranks=ranks)
        if options.freeze is not None:
            self.network.freeze(options.freeze)
        self.optimizer = SGD(
            self.network, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov, weight_decay=options.weight_decay
        )
        # The network that is evaluated and saved.
        self.average = MovingAverage(self.network, options.average) if options.average else None
        self.loader = self._loader(data.train, options.batch_size, training=True)
        balance = options.class_weights == BALANCED
        self.class_weights = balanced_weights(data.train.labels, len(data.classes)) if balance else None
        self.state = RunState()
        self._reporter = Reporter(folder.report, data, self.config())
        self._stop = StopRequest()
        self._saved_at = self._drawn_at = time.monotonic()
        self._warned = False

    def begin_with(self, model: Model) -> None:
        """Takes the weights of a model for the first ones of a new run. Raises OptionError if no layer fits."""
        for line in take_weights(self.network, model):
            self.say(line)
        self.result.load_state_dict(self.network.state_dict())

    @property
    def result(self) -> Network:
        """The network that is evaluated and saved: the moving average, if there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def _title(self) -> str:
        """Of the picture of the curves."""
        return f"{self.spec.name} on {self.data.name}, seed {self.options.seed}"

    def _check_last_batch(self) -> None:
        """Raises OptionError if the last batch has one image whose last map is one pixel: batch norm would refuse it."""
        images, batch_size = len(self.data.train), self.options.batch_size
        if (images - 1) % batch_size == 0 and any(
            layer.has_norm and layer.output_size == (1, 1) for layer in self.spec.convolutions
        ):
            raise OptionError(
                f"batch size {batch_size} leaves a last batch of one of the {images} training images, too few for batch norm with"
                " images this small: choose another batch size"
            )

    def _loader(self, part: Part, batch_size: int, training: bool) -> Loader:
        return Loader(
            part.images,
            part.labels,
            batch_size,
            mean=self.data.mean,
            std=self.data.std,
            augment=self.options.augment if training else "none",
            shuffle=training,
            seed=self.options.seed,
            dtype="float32",
            larger_chunks=self.spec.larger_chunks,
        )

    def restore(self, checkpoint: Checkpoint, state: RunState) -> None:
        """Continues from what `load_run` returned. Raises TrainingError if network, data or number of batches differ."""
        training, optimizer = checkpoint.training, checkpoint.optimizer
        assert training is not None and optimizer is not None  # checked by `load_run`
        if training["data_digest"] != self.data.digest:
            raise TrainingError(
                f"{self.data.name} is not the data that {str(self.folder.path)!r} was trained on: give that with --data,"
                " or start a new run"
            )
        seen = min(state.batch * self.options.batch_size, len(self.data.train))
        planned = state.batch <= len(self.loader) and state.samples == seen
        arrays = PLAIN if self.average is None else AVERAGED
        if checkpoint.spec != self.spec or checkpoint.dtype != self.network.dtype or not planned or set(optimizer) != arrays:
            raise TrainingError(f"{str(self.folder.config)!r} doesn't fit last.h5: restore the file or start a new run")
        self.result.load_state_dict(checkpoint.state)
        if self.average is not None:
            self.network.flat_parameters[:], self.network.flat_buffers[:] = optimizer["parameters"], optimizer["buffers"]
        self.network.dropout_step = training["dropout_step"]
        self.optimizer.velocity[:] = optimizer["velocity"]
        self.state = state

    def config(self) -> dict:
        """The content of config.json; a resumed run reads `options`."""
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
            "teacher": None if self.teacher is None else self.teacher.described,
            "normalisation": {"mean": data.mean, "std": data.std, "measured": data.measured},
            "versions": versions(),
            "cpu": cpu_name(),
        }

    def run(self) -> None:
        """Trains to the planned end; `save` must have been called.

        Raises Stopped, with everything saved, after a signal or if `say` raised OSError; TrainingError if the loss is not finite
        or the run folder can't be written.
        """
        for line in self._summary():
            self.say(line)
        # Compile before the clock starts. Nothing is lost if this is interrupted.
        self.ranks.one_by_host(self._compile)
        # Free the network used for compiling, which is in a reference cycle.
        gc.collect()
        draw = True
        with self._stop:
            try:
                self.folder.write_history(self.state.history)
                while not is_over(self.options.to_dict(), self.state.history):
                    self._check_stop()
                    self._train_epoch()
                    self._finish_epoch()
                    self._report()
                    for callback in self._callbacks if self.ranks.is_first else ():
                        callback(dict(self.state.history[-1]))
                if self.state.epoch < self.options.epochs:
                    self.say(f"stopped early: {self.options.patience} epochs without a better validation result")
            except Stopped as stopped:
                # After Ctrl-C a person may want the picture; a system that shuts down should not wait for it.
                draw = stopped.cause == signal.SIGINT
                self.save()
                raise
            finally:
                if self.state.history and draw:
                    self._draw()

    def _compile(self) -> None:
        compile_training(self.spec)
        if self.teacher is not None:
            self.teacher.compile()

    def say(self, line: str) -> None:
        """Reports a line; if that raises OSError, such as for a closed pipe, the run stops after the current batch."""
        try:
            self._print(line)
        except OSError as error:
            self._stop.cause = self._stop.cause or error

    def _check_stop(self) -> None:
        """Raises Stopped on all ranks if a stop was requested on one, so that they stop after the same batch."""
        cause = self._stop.cause
        number = self.ranks.largest(0 if cause is None else cause if isinstance(cause, signal.Signals) else signal.SIGTERM)
        if number:
            raise Stopped(signal.Signals(number) if cause is None else cause)

    def _summary(self) -> list[str]:
        """The lines reported at the start."""
        data, spec, state, batches, options = self.data, self.spec, self.state, len(self.loader), self.options
        source = data.normalised_by
        selected = f"best on {len(data.validation)} validation images" if len(data.validation) else "last epoch"
        resumed = f", from epoch {state.epoch + 1}, batch {state.batch + 1} on" if state.epoch or state.batch else ""
        return [
            recipe_line(self._asked, options, data.name, len(data.train)),
            f"normalisation: mean {rgb_text(data.mean)}, standard deviation {rgb_text(data.std)} ({source})",
            f"network: {spec.name}, {spec.parameters} parameters, {spec.macs / 1e6:.3g} M multiply-adds per image",
            f"run: {self.options.epochs} x {batches} batches{resumed}; best.h5: the {selected}; in {str(self.folder.path)!r}",
            *missing_packages(),
        ]

    def _train_epoch(self) -> None:
        state = self.state
        bar = self._screen.bar(f"epoch {state.epoch + 1}/{self.options.epochs}", len(self.data.train), state.samples)
        began = time.perf_counter()
        try:
            for batch in self.loader.epoch(state.epoch, start=state.batch, ranks=self.ranks):
                loss, correct = self._train_batch(batch)
                now = time.perf_counter()
                state.add_batch(loss, correct, len(batch.labels), now - began)
                began = now
                bar.update(len(batch.labels), state.loss_sum / state.samples, state.correct / state.samples)
                if time.monotonic() - self._saved_at > SAVE_EVERY:
                    self.save()
                self._check_stop()
        finally:
            bar.close()

    def train_batches(self, count: int) -> None:
        """Trains the next `count` batches, with evaluation after each complete epoch."""
        state = self.state
        while count:
            for batch in islice(self.loader.epoch(state.epoch, start=state.batch), count):
                state.add_batch(*self._train_batch(batch), len(batch.labels), seconds=1.0)
                count -= 1
            if state.batch == len(self.loader):
                self._finish_epoch()

    def _train_batch(self, batch: Batch) -> tuple[float, int]:
        """Trains one batch; returns its mean loss and its number of correct predictions."""
        self.optimizer.lr = self.state.lr = self._learning_rate()
        network = self.network
        logits = network.forward(batch, training=True)
        if self.teacher is None:
            loss, dlogits = cross_entropy(logits, batch.labels, self.class_weights)
        else:
            # What is reported is the part of the labels, which other losses can be compared with.
            _, dlogits, loss = distillation(logits, self.teacher.logits(batch), batch.labels, self.class_weights)
        if not math.isfinite(loss):
            first = first_nonfinite_output(network, batch, logits, self.ranks)
            raise self._not_finite(f"the loss is {loss} (first not finite: {first})")
        network.backward(dlogits)
        # Gradients can overflow although the loss is finite, and the step although the gradients are.
        if not all_finite(network.flat_gradients):
            raise self._not_finite(f"{first_nonfinite_gradient(network)} is not finite")
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.state.epoch * len(self.loader) + self.state.batch)
        if not (all_finite(network.flat_parameters) and all_finite(network.flat_buffers)):
            raise self._not_finite(f"{first_nonfinite(network.parameters() | network.buffers())} is not finite after the step")
        return float(loss), count_correct(logits, batch.labels)

    def _learning_rate(self) -> float:
        """The learning rate of the next batch."""
        options, state = self.options, self.state
        begun, epochs = cycle(state.epoch, options.epochs, options.restarts or ())
        epoch = state.epoch - begun
        if options.schedule == "one-cycle":
            return OneCycleSchedule(options.lr, epochs).lr(epoch + (state.batch + 0.5) / len(self.loader))
        return StepSchedule(options.lr, epochs, options.milestones, options.gamma).lr(epoch)

    def _evaluate(self, name: str, part: Part, kept: list[np.ndarray] | None = None) -> dict[str, Any]:
        """The columns of a part in the history, measured in inference; all None without images. kept: gets the logits."""
        found: dict[str, Any] = dict.fromkeys(f"{name}_{column}" for column in MEASURED)
        if not len(part):
            return found
        classes = len(self.data.classes)
        plan, loader = self.result.plan(), self._loader(part, EVALUATION_BATCH, training=False)
        mine, measured = self.ranks.share(len(loader)), []
        for batch in islice(loader.epoch(0, start=mine.start), len(mine)):
            logits = plan.run(batch.data, batch.layout)
            loss, _ = cross_entropy(logits, batch.labels)
            right = np.bincount(batch.labels[logits.argmax(axis=1) == batch.labels], minlength=classes)
            measured.append((float(loss), right, len(batch.labels), None if kept is None else logits))
            # The state has all batches of the epoch, so a resumed run starts with this evaluation again.
            if self.ranks.count == 1:
                self._stop.check()
        loss_sum, right = 0.0, np.zeros(classes, np.int64)
        for loss, correct, images, answers in chain.from_iterable(self.ranks.everyones(measured)):
            if not math.isfinite(loss):
                raise self._not_finite(f"the loss in the evaluation after the epoch is {loss}")
            loss_sum += loss * images
            right += correct
            if kept is not None and answers is not None:
                kept.append(answers)
        self._check_stop()
        recall = recalls(right, np.bincount(part.labels, minlength=classes))
        values = (loss_sum / len(part), int(right.sum()) / len(part), balanced(recall))
        found |= {f"{name}_{column}": round(value, 6) for column, value in zip(MEASURED, values)}
        if classes * self.options.epochs <= MAX_RECALLS:
            found[f"{name}_recall"] = [None if value is None else round(value, 4) for value in recall]
        return found

    def _finish_epoch(self) -> None:
        state, began = self.state, time.perf_counter()
        logits: list[np.ndarray] = []
        found = self._evaluate("validation", self.data.validation, logits) | self._evaluate("test", self.data.test)
        found |= {
            "epoch": state.epoch + 1,
            "lr": float(f"{state.lr:.6g}"),
            "train_loss": round(state.loss_sum / state.samples, 6),
            "train_accuracy": round(state.correct / state.samples, 6),
            "seconds": round(state.seconds + time.perf_counter() - began, 3),
            "images_per_second": round(state.samples / state.seconds, 1),
        }
        validation_accuracy = found["validation_accuracy"]
        state.end_epoch({name: found[name] for name in COLUMNS})
        if best_epoch(state.history) == state.epoch:
            state.best_epoch = state.epoch
            state.best_accuracy = -1.0 if validation_accuracy is None else validation_accuracy
            temperature = fit_temperature(np.concatenate(logits), self.data.validation.labels) if logits else 1.0
            self.folder.save_best(self._checkpoint(temperature=temperature))
        self.save()
        self.folder.write_history(state.history)
        line = self._screen.epoch(state.history, self.options.epochs, self._title, is_over(self.options.to_dict(), state.history))
        if line is not None:
            self.say(line)
        self._warn_of_divergence()
        if time.monotonic() - self._drawn_at > SAVE_EVERY:
            self._draw()

    def _report(self) -> None:
        """Writes report.html; an error only gives a line."""
        if not self.ranks.is_first:
            return
        try:
            self._reporter.update(self.result, self.state.history)
        except Exception as error:
            self.say(f"can't write {str(self.folder.report)!r} ({reason(error)}); the run continues without it")

    def _warn_of_divergence(self) -> None:
        """Reports once that the run diverges, see `diagnosis.diverges`."""
        losses, classes = [row["train_loss"] for row in self.state.history], len(self.data.classes)
        if not self._warned and diverges(losses, classes, self.state.epoch * len(self.loader)):
            self._warned = True
            self.say(
                f"the run diverges: the training loss of epoch {self.state.epoch} is {losses[-1]:.3f}, the best was"
                f" {min(losses):.3f}, and random guessing has {math.log(classes):.3f}; if this continues, start a new run with"
                f" a lower --lr than {self.options.lr:g}"
            )

    def _not_finite(self, what: str) -> TrainingError:
        """The error for a number that is not finite, found in the current batch."""
        where = f"epoch {self.state.epoch + 1}, batch {min(self.state.batch + 1, len(self.loader))}"
        return TrainingError(
            f"{what} in {where}, at learning rate {self.state.lr:g}: start a new run with a lower --lr"
            + (f"; {str(self.folder.last)!r} keeps the last good state" if isinstance(self.folder, RunFolder) else "")
        )

    def _checkpoint(self, **more) -> Checkpoint:
        state = self.result.state_dict()
        name = first_nonfinite(state)
        if name is not None:
            raise self._not_finite(f"{name} is not finite")
        return Checkpoint(
            spec=self.spec,
            state=state,
            classes=self.data.classes,
            mean=self.data.mean,
            std=self.data.std,
            # In the middle of an epoch, these weights have not been evaluated.
            metrics={} if self.state.batch else self._metrics(),
            provenance={
                "data": self.data.name,
                "recipe": self.options.provenance(),
                **({} if self.teacher is None else {"teacher": self.teacher.described}),
                "command": self.command,
                "versions": versions(),
            },
            **more,
        )

    def _metrics(self) -> dict[str, float]:
        last = self.state.history[-1] if self.state.history else {}
        return {name: value for name, value in last.items() if value is not None and not isinstance(value, list)}

    def save(self) -> None:
        """Writes last.h5, with everything needed to resume."""
        training = {"state": asdict(self.state), "dropout_step": self.network.dropout_step, "data_digest": self.data.digest}
        optimizer = {"velocity": self.optimizer.velocity}
        if self.average is not None:
            optimizer |= {"parameters": self.network.flat_parameters, "buffers": self.network.flat_buffers}
        self.folder.save_last(self._checkpoint(optimizer=optimizer, training=training))
        self._saved_at = time.monotonic()

    def _draw(self) -> None:
        """Draws curves.png. An error only gives a line, and a signal interrupts the drawing."""
        try:
            with StopRequest(immediate=True):
                self.folder.draw(self.state.history, self._title)
        except Stopped as stopped:
            self._stop.cause = stopped.cause
        except Exception as error:
            self.say(f"can't draw {str(self.folder.curves)!r} ({reason(error)}); the run continues without it")
        self._drawn_at = time.monotonic()


def count_correct(logits: np.ndarray, labels: np.ndarray) -> int:
    """The number of images whose largest logit is that of their label. logits: (N, classes). labels: (N,)."""
    return int(np.count_nonzero(logits.argmax(axis=1) == labels))


def versions() -> dict[str, str]:
    """The versions of everything that affects the bits of results."""
    packages = {"minisqx": minisqx, "numpy": np, "numba": numba}
    return {"python": platform.python_version(), **{name: package.__version__ for name, package in packages.items()}}
