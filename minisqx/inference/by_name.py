"""Predictions of many images by their names, a block at a time: memory does not grow with the number of images."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from minisqx.errors import ImageError
from minisqx.inference.model import IMAGES_AT_ONCE, Model
from minisqx.inference.prediction import Prediction
from minisqx.inference.table import Table, header, key_of, row

STDIN = "-"  # an image's name: its content comes from standard input

Answer = tuple[str, Prediction | ImageError]


def answers(model: Model, names: Iterable[str]) -> Iterator[list[Answer]]:
    """Blocks of (name, its prediction or why there is none), in the order of the names."""
    remaining = iter(names)
    while block := list(islice(remaining, IMAGES_AT_ONCE)):
        sources = [sys.stdin.buffer if name == STDIN else name for name in block]
        found = model.infer(sources, errors="return")
        yield [(name, _alone(answer)) for name, answer in zip(block, found)]


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
