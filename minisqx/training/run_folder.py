"""The folder of one training run.

    config.json   every option, the network, the data, versions and the command
    history.csv   one row an epoch; the columns are `COLUMNS`
    curves.png    the same as a picture, where Matplotlib is installed
    last.h5       the newest state, with all that is needed to go on
    previous.h5   the state before it, should a bit of last.h5 flip
    best.h5       the best epoch's weights, small

last.h5 is the truth: it holds the history too, and the other files are written again from it when a run is resumed.
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
from minisqx.machine.folders import replace_file
from minisqx.training.curves import draw_curves

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # Windows

# Loss: mean cross-entropy of an image. Accuracy: share of the images, 0 to 1. Training's two are averages over the epoch while
# the weights change, with dropout and augmentation. seconds: the whole epoch with its tests. images_per_second: training alone.
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
)


MOST_CONFIG_BYTES = 64 << 20


class RunFolder:
    """The files of the run in `path`; every fault of the disk becomes a `TrainingError`.

    While it is entered, no other process goes on with the same run.
    last_is_whole: whether last.h5 is known to be good, so that it may take the place of previous.h5.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.history = path / "history.csv"
        self.curves = path / "curves.png"
        self.last = path / "last.h5"
        self.previous = path / "previous.h5"
        self.best = path / "best.h5"
        self.last_is_whole = False
        self._made: list[Path] = []
        self._lock: int | None = None

    @classmethod
    def create(cls, out: str | None, name: str) -> "RunFolder":
        """A new folder: `out` itself if it is new or empty, else a fresh one below it; without `out`, one below runs/."""
        for path in _candidates(out, f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"):
            folder = cls(path)
            try:
                folder._made = [new for new in (path, *path.parents) if not new.exists()]
                path.mkdir(parents=True, exist_ok=True)
                if not any(path.iterdir()) and folder._claim():
                    return folder
            except OSError as error:
                raise TrainingError(
                    f"run folder {str(path)!r} can't be used ({reason(error)}): expected a folder, new or old, to write to;"
                    " choose another with --out"
                ) from None
        raise AssertionError("the candidates never end")

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """The folder of an earlier run, to go on with it."""
        folder = cls(Path(path))
        missing = [file.name for file in (folder.config, folder.last) if not file.is_file()]
        if missing and not (missing == ["last.h5"] and folder.previous.is_file()):
            raise TrainingError(
                f"can't resume {str(path)!r}, which has no {' and no '.join(missing)}: expected the folder of an earlier run"
            )
        return folder

    def _claim(self) -> bool:
        """Whether this process, and no other that started at the same time, has the folder; proves that it can be written to."""
        try:
            self.config.open("x").close()
        except FileExistsError:
            return False
        return True

    def __enter__(self) -> "RunFolder":
        """Locks the folder; the system unlocks it when the process ends, however it does."""
        try:
            self._lock = _locked(self.path)
        except BlockingIOError:
            raise TrainingError(
                f"another process trains in {str(self.path)!r}: expected a run that was stopped; wait until it ends, or stop it"
            ) from None
        except OSError:
            # Some network disks can't lock a folder: there nothing keeps a second process out.
            pass
        return self

    def __exit__(self, *error) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def sweep(self) -> None:
        """Removes the unfinished files of a process that was killed; nothing where another process may be writing them."""
        if self._lock is not None:
            for litter in self.path.glob(".minisqx-*.part"):
                with suppress(OSError):
                    litter.unlink()

    def remove(self) -> None:
        """Takes back what `create` made, and what was written since, for a run that can't begin."""
        with suppress(OSError):
            for file in (self.last, self.config):
                file.unlink(missing_ok=True)
            for folder in self._made:
                folder.rmdir()

    def write_config(self, config: dict) -> None:
        self._write(self.config, json.dumps(config, indent=2) + "\n")

    def read_config(self) -> dict:
        """The dictionary that `write_config` kept."""
        try:
            if self.config.stat().st_size > MOST_CONFIG_BYTES:
                raise ValueError(f"more than {MOST_CONFIG_BYTES} bytes")
            config = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingError(
                f"can't read {str(self.config)!r} ({reason(error)}): start a new run, or restore the file"
            ) from None
        if not isinstance(config, dict) or "options" not in config:
            raise TrainingError(f"{str(self.config)!r} has no options: start a new run, or restore the file")
        return config

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Writes last.h5; what it was becomes previous.h5. At every moment one of the two is whole."""
        if self.last_is_whole:
            try:
                self._keep_previous()
            except OSError as error:
                raise self._unwritable(self.previous, error) from None
        self._save(self.last, checkpoint)
        self.last_is_whole = True

    def save_best(self, checkpoint: Checkpoint) -> None:
        self._save(self.best, checkpoint)

    def write_history(self, history: list[dict]) -> None:
        """Writes all rows; a split without images has empty cells."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self._write(self.history, text.getvalue())

    def draw(self, history: list[dict], title: str) -> None:
        """Draws `curves.png`, or nothing without Matplotlib. Raises OSError, or whatever Matplotlib does."""
        with suppress(ImportError):
            replace_file(self.curves, draw_curves(history, title))

    def _keep_previous(self) -> None:
        link = self.path / f".minisqx-{secrets.token_hex(8)}.part"
        try:
            os.link(os.path.realpath(self.last), link)
        except FileNotFoundError:
            return
        except OSError:
            # A disk without hard links, such as a memory card's.
            replace_file(self.previous, self.last.read_bytes())
            return
        try:
            os.replace(link, self.previous)
        finally:
            # Where both names are of one file already, the system leaves both.
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
            return TrainingError(
                f"run folder {str(self.path)!r} is gone: it was removed while the run was going; start a new one"
            )
        begun = os.path.exists(self.last) or os.path.exists(self.previous)
        then = f"go on with --resume {shlex.quote(str(self.path))}" if begun else "start again"
        return TrainingError(f"can't write {str(path)!r} ({reason(error)}): make room or give permission, then {then}")


def _locked(path: Path) -> int | None:
    """A descriptor of the folder, which is locked until that is closed; None on a system without such locks."""
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _candidates(out: str | None, stamped: str) -> Iterator[Path]:
    base = Path("runs" if out is None else out)
    if out is not None:
        yield base
    yield base / stamped
    for number in itertools.count(2):
        yield base / f"{stamped}-{number}"


def reason(error: Exception) -> str:
    """What went wrong, in one line and without the file's name."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())
