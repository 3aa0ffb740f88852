"""The progress of a run, as last.h5 stores it besides the weights."""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from minisqx.checkpoint import Checkpoint, load_checkpoint
from minisqx.checks import is_number, is_whole
from minisqx.errors import CheckpointError, TrainingError
from minisqx.training.run_folder import COLUMNS, LATER, RECALLS, RunFolder

# The optimizer's arrays in last.h5: without a moving average, where the state has the network's own weights, and with one, where
# the state has the averages.
PLAIN = {"velocity"}
AVERAGED = {"velocity", "parameters", "buffers"}


@dataclass
class RunState:
    """The progress of a run, in JSON types.

    epoch: completed epochs. batch: completed batches of the current epoch; loss_sum, correct, samples, seconds: sums over these.
    lr: learning rate of the last batch. best_epoch: from 1, 0 before the first. best_accuracy: on the validation images, or -1.
    history: the rows of history.csv.
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
        """The inverse of `asdict`. Raises ValueError for invalid or inconsistent entries."""
        if isinstance(state, dict) and isinstance(state.get("history"), list):
            nothing = dict.fromkeys(LATER)
            state = state | {"history": [nothing | row if isinstance(row, dict) else row for row in state["history"]]}
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
    for name, field_type in names.items():
        if name != "history":
            require((whole if field_type is int else number)(state[name]), f"its {name} is {reprlib.repr(state[name])}")
    history, epoch = state["history"], state["epoch"]
    require(isinstance(history, list) and len(history) == epoch, f"its history doesn't have {epoch} rows for {epoch} epochs")
    for count, row in enumerate(history, start=1):
        require(
            isinstance(row, dict) and set(row) == set(COLUMNS) and row["epoch"] == count, f"row {count} of its history is invalid"
        )
        for name, value in row.items():
            empty = value is None and name.startswith(("validation_", "test_"))
            listed = name in RECALLS and isinstance(value, list) and all(each is None or number(each) for each in value)
            require(empty or listed or number(value), f"{name} of epoch {count} is {reprlib.repr(value)}")
    require(bool(state["best_epoch"]) == bool(epoch) and state["best_epoch"] <= epoch, f"its best epoch is {state['best_epoch']}")
    begun = bool(state["batch"])
    require(begun == bool(state["samples"]) == (state["seconds"] > 0), "its sums over the current epoch are inconsistent")
    require(state["correct"] <= state["samples"], "it has more correct predictions than images")


def load_run(folder: RunFolder, say: Callable[[str], object]) -> tuple[Checkpoint, RunState]:
    """Loads last.h5 and its state, or, with a line through `say`, previous.h5 if last.h5 is damaged.

    Raises CheckpointError if both are damaged, TrainingError if their training state is not one of this version.
    """
    try:
        loaded = _load_state(folder.last)
        folder.last_is_intact = True
        return loaded
    except (CheckpointError, TrainingError) as error:
        if not folder.previous.is_file():
            raise
        fault = error
    try:
        checkpoint, state = _load_state(folder.previous)
    except (CheckpointError, TrainingError) as error:
        raise type(fault)(f"{fault}; previous.h5 can't be used either: {error}") from None
    say(f"resuming from previous.h5, {state.epoch} epochs and {state.batch} batches, instead of last.h5: {fault}")
    return checkpoint, state


def _load_state(path: Path) -> tuple[Checkpoint, RunState]:
    checkpoint = load_checkpoint(path)
    training = checkpoint.training
    try:
        if not isinstance(training, dict) or set(training) != {"state", "dropout_step", "data_digest"}:
            raise ValueError("expected a state, a dropout step and a data digest")
        if not is_whole(training["dropout_step"], 0, 2**63 - 1):
            raise ValueError(f"its dropout step is {reprlib.repr(training['dropout_step'])}")
        optimizer = checkpoint.optimizer or {}
        if set(optimizer) not in (PLAIN, AVERAGED) or not all(np.isfinite(array).all() for array in optimizer.values()):
            raise ValueError(f"expected the optimizer's {', '.join(sorted(PLAIN))} or {', '.join(sorted(AVERAGED))}, all finite")
        return checkpoint, RunState.from_dict(training["state"])
    except ValueError as error:
        raise TrainingError(
            f"{str(path)!r} has no training state for this version of minisqx ({error}): resume with the version that wrote it"
        ) from None
