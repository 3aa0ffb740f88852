"""A table of predictions that several ranks write together, in shards.

A shard is the rows of some neighbouring images, in a growing file of its own (`table.py`) that a stopped program continues. The
cut depends on the images alone, so any number of ranks can go on with what others began. At the end the first rank puts the
shards together, in the order of the images: the file is the one that a single process would have written.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from minisqx.errors import DataError
from minisqx.inference.by_name import Written, answers
from minisqx.inference.model import Model
from minisqx.inference.table import Table, header, key_of, row
from minisqx.machine.ranks import Ranks

SHARD = 1024  # images


def write_shards(
    model: Model,
    names: Callable[[], Iterator[str]],
    path: str | os.PathLike,
    topk: int,
    ranks: Ranks,
    show: Callable[[int], object] = lambda images: None,
) -> Written:
    """What `write_table` does, on all ranks, which must all call this.

    show: called with the number of images up to which this rank is done. While it runs, the shards are in the folder
    `<path>.shards`. Raises DataError also if the images changed meanwhile.
    """
    folder, key, columns = Path(f"{os.fspath(path)}.shards"), key_of(model, topk), header(topk)
    if ranks.is_first:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(
                f"can't write {str(folder)!r} ({error.strerror}): grant permission, or choose another file"
            ) from error
    ranks.wait()
    kept, images = 0, 0
    for number, block in enumerate(_shards(names())):
        if number % ranks.count == ranks.number:
            with Table(folder / f"{number}", key, columns) as shard:
                begun, _ = shard.resume(block)
                kept += begun
                for found in answers(model, block[begun:]):
                    shard.add(row(name, answer, topk) for name, answer in found)
        images += len(block)
        show(images)
    resumed = sum(ranks.everyones(kept))
    written = ranks.from_first(lambda: _join(folder, Path(path), key, columns, names))
    return Written(written.images, resumed, written.bad)


def _shards(names: Iterator[str]) -> Iterator[list[str]]:
    while block := list(islice(names, SHARD)):
        yield block


def _join(folder: Path, path: Path, key: str, columns: list[str], names: Callable[[], Iterator[str]]) -> Written:
    """Writes the file `path` from all shards, and removes them."""
    images, bad = 0, 0
    with Table(path, key, columns) as table:
        table.resume(())
        for number, block in enumerate(_shards(names())):
            with Table(folder / f"{number}", key, columns) as shard:
                kept, errors = shard.resume(block)
                if kept < len(block):
                    raise DataError(f"the images changed while they were classified, such as {block[kept]!r}: repeat the command")
                table.add(shard.rows())
            images, bad = images + kept, bad + errors
        table.finish()
    shutil.rmtree(folder)
    return Written(images, 0, bad)
