"""The surest mistakes of an evaluation: a list of all, and copies of the first ones to look at."""

import csv
import io
import re
from pathlib import Path

from minisqx.data.dataset import Part
from minisqx.errors import DataError
from minisqx.images.pillow import Image
from minisqx.machine.folders import replace_file
from minisqx.training.evaluation import Evaluation

COPIED = 100
LIST = "mistakes.csv"


def save(folder: Path, result: Evaluation, part: Part, source: Path | None) -> int:
    """Writes `mistakes.csv` and copies of the `COPIED` surest mistakes into a new or empty folder; returns the number of copies.

    part: what was evaluated. source: the folder that its names are relative to; where it has no such file, a copy is a PNG of the
    image as the network got it. Raises DataError if the folder has content or can't be written.
    """
    wrong = result.mistakes()
    names = [part.names[at] if part.names is not None else f"image {at}" for at in wrong]
    rows = [("image", "true class", "predicted class", "probability")]
    for name, at in zip(names, wrong):
        truth, predicted = (result.classes[label] for label in (result.labels[at], result.predicted[at]))
        rows.append((name, truth, predicted, f"{result.probability[at]:.4f}"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DataError(f"the folder {str(folder)!r} is not empty: expected a new or empty folder for the mistakes")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        replace_file(folder / LIST, text.getvalue().encode("utf-8", "surrogateescape"))
        for number, (row, at) in enumerate(zip(rows[1 : COPIED + 1], wrong), start=1):
            file = None if source is None else source / row[0]
            whole = file is not None and file.is_file()
            data = file.read_bytes() if file is not None and whole else _png(part, at)
            replace_file(folder / _file_name(number, row, "" if whole else ".png"), data)
    except OSError as error:
        raise DataError(f"the folder {str(folder)!r} can't be written ({error.strerror or error}): choose another") from error
    return min(len(wrong), COPIED)


def _png(part: Part, at: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(part.images[at]).save(file, "PNG")
    return file.getvalue()


def _file_name(number: int, row: tuple[str, ...], ending: str) -> str:
    """Such as "001 cat as dog 97 % IMG_0001.jpg", in characters that any system allows."""
    name, truth, predicted, probability = row
    text = f"{number:03} {truth[:40]} as {predicted[:40]} {100 * float(probability):.0f} % {Path(name).name[-60:]}{ending}"
    return re.sub(r"[^\w .,%+()-]", "_", text)
