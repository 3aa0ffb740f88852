"""Callbacks, which a run calls after each epoch, and `TensorBoard`, which is one."""

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from minisqx.errors import MissingExtraError, OptionError

Callback = Callable[[dict], object]


def functions_of(callbacks: Iterable[Any]) -> tuple[Callback, ...]:
    """The functions to call with each row of the history. Raises OptionError for what is neither a function nor has one.

    callbacks: functions, or objects with a method `on_epoch_end`.
    """
    if not isinstance(callbacks, (list, tuple)):
        raise OptionError(f"callbacks {type(callbacks).__name__}: expected a list of functions, such as callbacks=[print]")
    found: list[Callback] = []
    for each in callbacks:
        function = getattr(each, "on_epoch_end", each)
        if not callable(function) or isinstance(each, type):
            raise OptionError(f"callback {each!r}: expected a function of a row, or an object with on_epoch_end(row)")
        found.append(function)
    return tuple(found)


class TensorBoard:
    """A callback that writes each number of the history to event files: `tensorboard --logdir FOLDER` shows them.

    folder: where the files go; a resumed run takes the same one. Raises MissingExtraError without tensorboardX.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        try:
            # Its SummaryWriter has a thread that may not have written everything when it is flushed, or when the program ends.
            from tensorboardX.event_file_writer import EventsWriter
        except ImportError as error:
            raise MissingExtraError("tensorboardX is not installed: pip install 'minisqx[tensorboard]'") from error
        os.makedirs(folder, exist_ok=True)
        self._writer = EventsWriter(os.path.join(os.fspath(folder), "events"))

    def on_epoch_end(self, row: dict) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "epoch":
                # Curves of one figure share a chart's heading: accuracy/train, accuracy/test.
                part, _, figure = name.partition("_")
                tag = f"{figure}/{part}" if part in ("train", "validation", "test") else name
                self._writer.write_event(Event(wall_time=time.time(), step=row["epoch"], summary=scalar(tag, value)))
        self._writer.flush()
