"""The folder of a training run.

    config.json   every option, the network, the data, versions and the command
    history.csv   one row per epoch; the columns are `COLUMNS`
    curves.png    history.csv as a picture, if Matplotlib is installed
    report.html   all that came out, as a page
    last.h5       the latest checkpoint, with everything needed to resume
    previous.h5   the checkpoint before it, in case last.h5 is damaged
    best.h5       the weights of the best epoch, without the state for resuming

last.h5 is authoritative: it also contains the history, and a resumed run writes the other files again from it.
"""

import csv
import io
import itertools
import json
import os
import secrets
import shlex
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from minisqx.checkpoint import Checkpoint, save_checkpoint
from minisqx.errors import CheckpointError, TrainingError
from minisqx.machine.folders import lock, replace_file
from minisqx.training.curves import draw_curves

# loss: mean cross-entropy. accuracy: 0 to 1. train_*: averages over the epoch while the weights change, with dropout and
# augmentation. seconds: the whole epoch with its evaluation. images_per_second: of training alone. recall: a list in JSON, of
# each class the accuracy on its images, null for a class without; balanced_accuracy: the mean of these.
COLUMNS = (
    "epoch",
    "lr",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    "seconds",
    "images_per_second",
    "validation_balanced_accuracy",
    "test_balanced_accuracy",
    "validation_recall",
    "test_recall",
)
RECALLS = COLUMNS[-2:]
LATER = COLUMNS[-4:]  # columns that the history of an older run lacks

MAX_CONFIG_BYTES = 64 << 20


class RunFolder:
    """The files of the run in `path`. Errors of the file system are raised as TrainingError.

    As a context manager it locks the folder, so that no other process resumes the same run.
    last_is_intact: whether last.h5 is known to be readable, so that it may replace previous.h5.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.history = path / "history.csv"
        self.curves = path / "curves.png"
        self.report = path / "report.html"
        self.last = path / "last.h5"
        self.previous = path / "previous.h5"
        self.best = path / "best.h5"
        self.last_is_intact = False
        self._created: list[Path] = []
        self._lock: int | None = None

    @classmethod
    def create(cls, out: str | None, name: str) -> "RunFolder":
        """Creates a run folder: `out` itself if it is new or empty, else a new folder in it; None: a new folder in runs/."""
        for path in _candidates(out, f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"):
            folder = cls(path)
            try:
                folder._created = [new for new in (path, *path.parents) if not new.exists()]
                path.mkdir(parents=True, exist_ok=True)
                if not any(path.iterdir()) and folder._claim():
                    return folder
            except OSError as error:
                raise TrainingError(
                    f"run folder {str(path)!r} can't be used ({reason(error)}): expected a writable folder, or a path"
                    " where one can be created; choose another with --out"
                ) from None
        raise AssertionError("unreachable: there is always another candidate")

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """The folder of an earlier run. Raises TrainingError if config.json is missing, or both last.h5 and previous.h5 are."""
        folder = cls(Path(path))
        missing = [file.name for file in (folder.config, folder.last) if not file.is_file()]
        if missing and not (missing == ["last.h5"] and folder.previous.is_file()):
            raise TrainingError(
                f"can't resume {str(path)!r}, which has no {' and no '.join(missing)}: expected the folder of an earlier run"
            )
        return folder

    def _claim(self) -> bool:
        """Creates config.json, empty; False if another process was faster. Raises OSError if the folder is not writable."""
        try:
            self.config.open("x").close()
        except FileExistsError:
            return False
        return True

    def __enter__(self) -> "RunFolder":
        """Locks the folder; the system releases the lock when the process ends, even if it is killed."""
        try:
            self._lock = _lock(self.path)
        except BlockingIOError:
            raise TrainingError(
                f"another process is training in {str(self.path)!r}: expected a stopped run; wait until it ends, or stop it"
            ) from None
        except OSError:
            # Some network file systems don't support locks; a second process is not detected there.
            pass
        return self

    def __exit__(self, *error) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove_leftovers(self) -> None:
        """Removes temporary files of a killed process; without a lock none, since another process may be writing them."""
        if self._lock is not None:
            for file in self.path.glob(".minisqx-*.part"):
                with suppress(OSError):
                    file.unlink()

    def remove(self) -> None:
        """Removes last.h5, config.json and the folders that `create` created, after a run failed to start."""
        with suppress(OSError):
            for file in (self.last, self.config):
                file.unlink(missing_ok=True)
            for folder in self._created:
                folder.rmdir()

    def write_config(self, config: dict) -> None:
        self._write(self.config, json.dumps(config, indent=2) + "\n")

    def read_config(self) -> dict:
        """The dictionary written by `write_config`. Raises TrainingError if it can't be read or has no "options"."""
        try:
            if self.config.stat().st_size > MAX_CONFIG_BYTES:
                raise ValueError(f"more than {MAX_CONFIG_BYTES} bytes")
            config = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingError(
                f"can't read {str(self.config)!r} ({reason(error)}): start a new run, or restore the file"
            ) from None
        if not isinstance(config, dict) or "options" not in config:
            raise TrainingError(f"{str(self.config)!r} has no options: start a new run, or restore the file")
        return config

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Writes last.h5, after renaming the old one to previous.h5. One of the two is complete at any time."""
        if self.last_is_intact:
            try:
                self._keep_previous()
            except OSError as error:
                raise self._unwritable(self.previous, error) from None
        self._save(self.last, checkpoint)
        self.last_is_intact = True

    def save_best(self, checkpoint: Checkpoint) -> None:
        self._save(self.best, checkpoint)

    def write_history(self, history: list[dict]) -> None:
        """Writes history.csv; cells of a part without images are empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in history:
            writer.writerow(row | {name: json.dumps(row[name]) for name in RECALLS if row[name] is not None})
        self._write(self.history, text.getvalue())

    def draw(self, history: list[dict], title: str) -> None:
        """Draws curves.png; does nothing without Matplotlib. Raises OSError and any error of Matplotlib."""
        with suppress(ImportError):
            replace_file(self.curves, draw_curves(history, title))

    def _keep_previous(self) -> None:
        link = self.path / f".minisqx-{secrets.token_hex(8)}.part"
        try:
            os.link(os.path.realpath(self.last), link)
        except FileNotFoundError:
            return
        except OSError:
            # The file system has no hard links, such as FAT on a memory card.
            replace_file(self.previous, self.last.read_bytes())
            return
        try:
            os.replace(link, self.previous)
        finally:
            # If both names already refer to one file, POSIX rename does nothing and leaves the link.
            link.unlink(missing_ok=True)

    def _save(self, path: Path, checkpoint: Checkpoint) -> None:
        try:
            save_checkpoint(path, checkpoint)
        except CheckpointError as error:
            if isinstance(error.__cause__, OSError):
                raise self._unwritable(path, error.__cause__) from None
            raise

    def _write(self, path: Path, text: str) -> None:
        try:
            replace_file(path, text.encode())
        except OSError as error:
            raise self._unwritable(path, error) from None

    def _unwritable(self, path: Path, error: OSError) -> TrainingError:
        if isinstance(error, FileNotFoundError):
            return TrainingError(f"run folder {str(self.path)!r} is gone: it was removed during the run; start a new run")
        begun = os.path.exists(self.last) or os.path.exists(self.previous)
        then = f"continue with --resume {shlex.quote(str(self.path))}" if begun else "start again"
        return TrainingError(f"can't write {str(path)!r} ({reason(error)}): free space or grant permission, then {then}")


class NoFolder:
    """In the place of a `RunFolder`: a run that leaves no files. best: the checkpoint of its best epoch."""

    path = config = last = curves = report = Path("no run folder")
    best: Checkpoint | None = None

    def save_last(self, checkpoint: Checkpoint) -> None:
        pass

    def save_best(self, checkpoint: Checkpoint) -> None:
        self.best = checkpoint

    def write_history(self, history: list[dict]) -> None:
        pass

    def draw(self, history: list[dict], title: str) -> None:
        pass


class OthersFolder(RunFolder):
    """The run folder as the ranks after the first one have it: they know its name, and neither lock nor write anything."""

    def __enter__(self) -> "OthersFolder":
        return self

    def remove(self) -> None:
        pass

    def remove_leftovers(self) -> None:
        pass

    def draw(self, history: list[dict], title: str) -> None:
        pass

    def _keep_previous(self) -> None:
        pass

    def _save(self, path: Path, checkpoint: Checkpoint) -> None:
        pass

    def _write(self, path: Path, text: str) -> None:
        pass


def was_begun(path: Path) -> bool:
    """Whether `path` is the folder of a run that can be resumed."""
    return any((path / name).is_file() for name in ("last.h5", "previous.h5"))


def _lock(path: Path) -> int:
    """Locks a folder; returns the file descriptor that holds the lock until it is closed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _candidates(out: str | None, stamped: str) -> Iterator[Path]:
    """Paths to try for a new run folder. stamped: network and time."""
    base = Path("runs" if out is None else out)
    if out is not None:
        yield base
    yield base / stamped
    for number in itertools.count(2):
        yield base / f"{stamped}-{number}"


def reason(error: Exception) -> str:
    """The message of an error in one line, without the file name."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())
