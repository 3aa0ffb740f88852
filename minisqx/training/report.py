"""report.html of a run: after each epoch of a training, and made again from a run folder."""

import time
from pathlib import Path

import numpy as np

from minisqx.data.dataset import Part
from minisqx.data.loader import Loader
from minisqx.errors import TrainingError
from minisqx.inference.prediction import softmax
from minisqx.machine.folders import replace_file
from minisqx.network import Network
from minisqx.plan import Plan
from minisqx.report.content import Content, Measured, is_over
from minisqx.report.page import html
from minisqx.training.data import TrainingData, open_training_data
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import RunFolder, reason
from minisqx.training.run_state import load_run

BATCH = 256  # images
# A report may take this share of a run's time.
SHARE = 0.05


class Reporter:
    """Writes the report of a run that goes on, not after every epoch where that would take more than `SHARE` of the time."""

    def __init__(self, file: Path, data: TrainingData, config: dict) -> None:
        self._file, self._data, self._config = file, data, config
        self._next = 0.0

    def update(self, network: Network, history: list[dict]) -> None:
        """Writes the report of these epochs. Raises OSError if the file can't be written."""
        began = time.monotonic()
        content = content_of(network.plan(), self._data, self._config, history)
        if began < self._next and not content.is_finished:
            return
        replace_file(self._file, html(content).encode())
        now = time.monotonic()
        self._next = now + (now - began) / SHARE


def content_of(plan: Plan, data: TrainingData, config: dict, history: list[dict]) -> Content:
    """What a report shows. While a run goes on, and there are validation images, the test images are not looked at."""
    is_finished = is_over(config["options"], history)
    part = "validation" if len(data.validation) and not is_finished else "test"
    counted = {"train": data.train, "validation": data.validation, "test": data.test}
    images = {name: np.bincount(each.labels, minlength=len(data.classes)).tolist() for name, each in counted.items() if len(each)}
    measured = _measure(plan, part, counted[part], data)
    return Content(plan.spec, data.classes, history, config, images, data.notes, measured)


def _measure(plan: Plan, name: str, part: Part, data: TrainingData) -> Measured:
    loader = Loader(
        part.images, part.labels, BATCH, mean=data.mean, std=data.std, augment="none", shuffle=False, seed=0, dtype=plan.dtype,
        larger_chunks=plan.spec.larger_chunks,
    )  # fmt: skip
    found = [softmax(plan.run(batch.data, batch.layout)) for batch in loader.epoch(0)]
    if any(each is None for each in found):
        raise TrainingError("the network's answers are not finite: there is nothing to report")
    names = part.names or tuple(f"image {at}" for at in range(len(part)))
    probabilities: np.ndarray = np.concatenate(found)  # type: ignore[arg-type]
    predicted, probability = probabilities.argmax(axis=1), probabilities.max(axis=1)
    return Measured(data.classes, part.labels, predicted, probability, name, part.images, names, probabilities)


def report(run_folder: Path, data: str | None, out: Path | None, say) -> Path:
    """Makes the report of a run folder, from its newest state; returns the file.

    data: where the images are now, if they were moved. Raises TrainingError if the folder is not a run with an epoch, or the file
    can't be written; DataError if the images are gone.
    """
    folder = RunFolder.open(run_folder)
    config = folder.read_config()
    checkpoint, state = load_run(folder, say)
    if not state.history:
        raise TrainingError(f"{str(run_folder)!r} has no complete epoch yet: there is nothing to report")
    options = TrainingOptions.from_dict(config["options"] | ({} if data is None else {"data": data}))
    images = open_training_data(options, say, None if options.init is None else checkpoint)
    if images.digest != (checkpoint.training or {}).get("data_digest"):
        raise TrainingError(f"{images.name} is not the data that {str(run_folder)!r} was trained on: give that with --data")
    content = content_of(Plan(checkpoint.spec, checkpoint.state), images, config, state.history)
    file = out or folder.path / "report.html"
    try:
        replace_file(file, html(content).encode())
    except OSError as error:
        raise TrainingError(f"can't write {str(file)!r} ({reason(error)}): choose another file with --out") from None
    return file
