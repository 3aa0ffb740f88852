"""How far a run is: what last.h5 keeps of it beside the weights, and how that is read back."""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from minisqx.checkpoint import Checkpoint, load_checkpoint
from minisqx.checks import is_number, is_whole
from minisqx.errors import CheckpointError, TrainingError
from minisqx.training.run_folder import COLUMNS, RunFolder


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

    @classmethod
    def from_dict(cls, state: Any) -> "RunState":
        """The inverse of `asdict`; raises ValueError, with what is wrong, for anything that is no state of a run."""
        _check_state(state)
        return cls(**state)

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


def _check_state(state: Any) -> None:
    def whole(value: object) -> bool:
        return is_whole(value, 0, 2**63 - 1)

    def number(value: object) -> bool:
        return whole(value) or (isinstance(value, float) and is_number(value))

    def require(ok: bool, what: str) -> None:
        if not ok:
            raise ValueError(what)

    names = {entry.name: entry.type for entry in fields(RunState)}
    require(isinstance(state, dict) and set(state) == set(names), "its state has other entries")
    for name, kind in names.items():
        if name != "history":
            require((whole if kind is int else number)(state[name]), f"its {name} is {reprlib.repr(state[name])}")
    history, epoch = state["history"], state["epoch"]
    require(isinstance(history, list) and len(history) == epoch, f"its history has not the {epoch} rows of as many epochs")
    for count, row in enumerate(history, start=1):
        require(
            isinstance(row, dict) and set(row) == set(COLUMNS) and row["epoch"] == count, f"row {count} of its history is no row"
        )
        for name, value in row.items():
            empty = value is None and name.startswith(("validation_", "test_"))
            require(empty or number(value), f"{name} of epoch {count} is {reprlib.repr(value)}")
    require(bool(state["best_epoch"]) == bool(epoch) and state["best_epoch"] <= epoch, f"its best epoch is {state['best_epoch']}")
    begun = bool(state["batch"])
    require(begun == bool(state["samples"]) == (state["seconds"] > 0), "its sums over a part of an epoch don't fit each other")
    require(state["correct"] <= state["samples"], "it has more right answers than images")


def load_run(folder: RunFolder, say: Callable[[str], object]) -> tuple[Checkpoint, RunState]:
    """last.h5 and the state in it; or previous.h5 and a line that says so, if last.h5 is no good.

    Raises CheckpointError if both are damaged, TrainingError if they are of no run that this version knows.
    """
    try:
        loaded = _load_state(folder.last)
        folder.last_is_whole = True
        return loaded
    except (CheckpointError, TrainingError) as error:
        if not folder.previous.is_file():
            raise
        fault = error
    try:
        checkpoint, state = _load_state(folder.previous)
    except (CheckpointError, TrainingError) as error:
        raise type(fault)(f"{fault}; nor can previous.h5 stand in for it: {error}") from None
    say(f"going on from previous.h5, {state.epoch} epochs and {state.batch} batches, instead of last.h5: {fault}")
    return checkpoint, state


def _load_state(path: Path) -> tuple[Checkpoint, RunState]:
    checkpoint = load_checkpoint(path)
    training = checkpoint.training
    try:
        if not isinstance(training, dict) or set(training) != {"state", "dropout_step", "data_digest"}:
            raise ValueError("expected a state, a dropout step and a digest of the data")
        if not is_whole(training["dropout_step"], 0, 2**63 - 1):
            raise ValueError(f"its dropout step is {reprlib.repr(training['dropout_step'])}")
        optimizer = checkpoint.optimizer or {}
        velocity = optimizer.get("velocity")
        if velocity is None or len(optimizer) > 1 or not np.isfinite(velocity).all():
            raise ValueError("expected the optimizer's velocity, all of it finite, and nothing else")
        return checkpoint, RunState.from_dict(training["state"])
    except ValueError as error:
        raise TrainingError(
            f"{str(path)!r} has no training state that this minisqx knows ({error}): resume with the version that wrote it"
        ) from None
