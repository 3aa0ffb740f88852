"""Predictions of many images by their names, a block at a time: memory does not grow with the number of images."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from minisqx.errors import ImageError
from minisqx.inference.model import IMAGES_AT_ONCE, Model
from minisqx.inference.prediction import Prediction
from minisqx.inference.stored import stored_image
from minisqx.inference.table import Table, header, key_of, row

BLOCKS_AT_ONCE = 2
STDIN = "-"  # an image's name: its content comes from standard input

Answer = tuple[str, Prediction | ImageError]


def answers(model: Model, names: Iterable[str]) -> Iterator[list[Answer]]:
    """Blocks of (name, its prediction or why there is none), in the order of the names.

    While the images of one block are decoded, which may mean waiting for a disk, the one before is computed.
    """
    remaining, pending = iter(names), deque[Future[list[Answer]]]()
    with ThreadPoolExecutor(BLOCKS_AT_ONCE, "minisqx-images") as workers:
        while block := list(islice(remaining, IMAGES_AT_ONCE)):
            pending.append(workers.submit(_answers, model, block))
            if len(pending) == BLOCKS_AT_ONCE:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _answers(model: Model, block: list[str]) -> list[Answer]:
    sources = [_source(name) for name in block]
    found = iter(model.infer([source for source in sources if not isinstance(source, ImageError)], errors="return"))
    return [(name, source if isinstance(source, ImageError) else _alone(next(found))) for name, source in zip(block, sources)]


def _source(name: str) -> Any:
    """The image with this name as `Model.infer` takes it, or an ImageError."""
    if name == STDIN:
        return sys.stdin.buffer
    try:
        stored = stored_image(name)
    except ImageError as error:
        return error
    return name if stored is None else stored


def _alone(answer: Prediction | ImageError) -> Prediction | ImageError:
    """An error's message without the image's number in the list."""
    return answer.__cause__ if isinstance(answer, ImageError) and isinstance(answer.__cause__, ImageError) else answer


@dataclass(frozen=True)
class Written:
    """images: rows of the table. resumed: how many of them an earlier call had written. bad: how many have an error."""

    images: int
    resumed: int
    bad: int


def write_table(
    model: Model,
    names: Callable[[], Iterator[str]],
    path: str | os.PathLike,
    topk: int,
    show: Callable[[int, int], object] = lambda images, resumed: None,
) -> Written:
    """Writes the CSV file `path`, a row for each of `names()`; continues where an earlier call was stopped.

    names: gives the same names in the same order at each call. show: called with the number of rows after each block, and with
    the number that was there before. Raises DataError as `Table` does.
    """
    with Table(path, key_of(model, topk), header(topk)) as table:
        images, bad = table.resume(names())
        resumed = images
        show(images, resumed)
        for block in answers(model, islice(names(), resumed, None)):
            table.add(row(name, answer, topk) for name, answer in block)
            images += len(block)
            bad += sum(isinstance(answer, ImageError) for _, answer in block)
            show(images, resumed)
        table.finish()
    return Written(images, resumed, bad)
