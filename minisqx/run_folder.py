"""The folder of one training run.

    config.json   every option, the network, the data, versions and the command
    history.csv   one row an epoch; the columns are `COLUMNS`
    curves.png    the same as a picture, where Matplotlib is installed
    last.h5       the newest state, with all that is needed to go on
    best.h5       the best epoch's weights, small

last.h5 is the truth: it holds the history too, and the other files are written again from it when a run is resumed.
"""

import csv
import io
import itertools
import json
import shlex
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from minisqx.curves import draw_curves
from minisqx.errors import TrainingError

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


class RunFolder:
    """The files of the run in `path`; every fault of the disk becomes a `TrainingError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.history = path / "history.csv"
        self.curves = path / "curves.png"
        self.last = path / "last.h5"
        self.best = path / "best.h5"
        self._made: list[Path] = []

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
        if missing:
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

    def remove(self) -> None:
        """Takes back what `create` made, for a run that can't begin."""
        with suppress(OSError):
            self.config.unlink(missing_ok=True)
            for folder in self._made:
                folder.rmdir()

    def write_config(self, config: dict) -> None:
        self._write(self.config, json.dumps(config, indent=2) + "\n")

    def read_config(self) -> dict:
        """The dictionary that `write_config` kept."""
        try:
            config = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"can't read {str(self.config)!r} ({reason(error)}): start a new run, or restore the file"
            ) from None
        if not isinstance(config, dict) or "options" not in config:
            raise TrainingError(f"{str(self.config)!r} has no options: start a new run, or restore the file")
        return config

    def write_history(self, history: list[dict]) -> None:
        """Writes all rows; a split without images has empty cells."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self._write(self.history, text.getvalue())

    def draw(self, history: list[dict], title: str) -> None:
        """Draws `curves.png`, or nothing without Matplotlib."""
        try:
            with suppress(ImportError):
                draw_curves(self.curves, history, title)
        except OSError as error:
            raise TrainingError(self._unwritable(self.curves, error)) from None

    def _write(self, path: Path, text: str) -> None:
        temporary = path.with_name(path.name + ".part")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise TrainingError(self._unwritable(path, error)) from None

    def _unwritable(self, path: Path, error: OSError) -> str:
        resume = f"--resume {shlex.quote(str(self.path))}"
        return f"can't write {str(path)!r} ({reason(error)}): make room or give permission, then go on with {resume}"


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
